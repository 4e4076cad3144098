-- The catalog of shared models; what the operator switches on for a project; members of projects.

-- Features of a project. What is not here is off; a name that this release does not know is left alone.
CREATE TABLE project_feature (
    project_id text NOT NULL REFERENCES project (id),
    feature    text NOT NULL,
    enabled_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, feature)
);

CREATE TABLE member (
    id         text PRIMARY KEY,
    serial     bigint GENERATED ALWAYS AS IDENTITY,
    project_id text NOT NULL REFERENCES project (id),
    name       text NOT NULL,  -- of a person, or an e-mail address
    role       text NOT NULL CHECK (role IN ('member', 'admin')),
    created_at timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz  -- from then on none of its keys works
);
CREATE UNIQUE INDEX member_named ON member (project_id, name) WHERE removed_at IS NULL;
CREATE INDEX member_listed ON member (project_id, serial);

ALTER TABLE api_key ADD COLUMN member_id text REFERENCES member (id);
CREATE INDEX api_key_member ON api_key (member_id) WHERE member_id IS NOT NULL;

ALTER TABLE model
    ADD COLUMN shared_at        timestamptz,  -- the last time; stays when it is unshared: pages go on from its place
    ADD COLUMN featured         boolean NOT NULL DEFAULT false,
    ADD COLUMN deployment_count bigint NOT NULL DEFAULT 0 CHECK (deployment_count >= 0),
    ADD CONSTRAINT model_shared_check CHECK (NOT is_shared OR shared_at IS NOT NULL);
CREATE INDEX model_catalog ON model (shared_at DESC, serial DESC) WHERE is_shared AND status IN ('ready', 'active');

-- What a search of the catalog finds a model by: its properties, and every one, two and three characters in a row of its
-- texts, so that an index finds text at any position without an extension, which not every Postgres has. It uses only
-- what is built in, so that it works under any search_path. Statements of services/gateway/catalog/store.py rely on it.
CREATE FUNCTION catalog_terms(
    project_id text, architecture text, workload_type text, format text, quantization text, name text, description text
) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 5000 AS $$
    SELECT ARRAY['project=' || project_id, 'architecture=' || architecture, 'workload_type=' || workload_type,
                 'format=' || format, 'quantization=' || quantization]
        || ARRAY(SELECT substr(words, start, size)
                   FROM (SELECT lower(concat_ws(E'\n', name, architecture, left(description, 1000))) AS words) AS texts,
                        generate_series(1, 3) AS size, generate_series(1, length(words) + 1 - size) AS start)
$$;
CREATE INDEX model_catalog_terms ON model
    USING gin (catalog_terms(project_id, architecture, workload_type, format, quantization, name, description))
    WITH (fastupdate = off) WHERE is_shared AND status IN ('ready', 'active');
-- No statistics: what there is of a term would cost much to count, and no statement needs it
ALTER INDEX model_catalog_terms ALTER COLUMN 1 SET STATISTICS 0;
