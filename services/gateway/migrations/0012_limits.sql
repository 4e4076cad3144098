-- What projects and keys may use at most, and what projects use.

-- By name; a name that is not there: the installation's default; null: no limit.
ALTER TABLE project ADD COLUMN limits jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(limits) = 'object');
ALTER TABLE api_key ADD COLUMN limits jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(limits) = 'object');

ALTER TABLE upload
    ADD COLUMN declared_bytes bigint NOT NULL DEFAULT 0,  -- reserved until it ends: what its client announced to store
    ADD COLUMN stored_limit   bigint,                     -- of its project, in bytes, when it was opened; NULL: none
    ADD COLUMN key_id         text;                       -- that opened it
UPDATE upload u
   SET declared_bytes = CASE u.kind
       WHEN 'archive' THEN (SELECT coalesce(sum(s.size_bytes), 0) FROM upload_stream s WHERE s.upload_id = u.id)
       ELSE (SELECT coalesce(sum(f.size_bytes), 0) FROM upload_file f WHERE f.upload_id = u.id AND NOT f.present) END
 WHERE u.status IN ('open', 'processing');
CREATE INDEX upload_live ON upload (project_id) INCLUDE (declared_bytes, key_id)
    WHERE status IN ('open', 'processing');
CREATE INDEX model_validating_of ON model (project_id) WHERE status = 'validating';

-- Requests that were let through in the current second, of those who have a limit. Lost in a crash: a second is over.
CREATE UNLOGGED TABLE request_window (
    subject text PRIMARY KEY,  -- a project or a key; the row goes with its limit
    second  bigint NOT NULL,   -- since 1970
    taken   bigint NOT NULL    -- requests that were handed out; beyond the limit, that were asked for
) WITH (fillfactor = 50);

-- What a project uses is the sum of its row here and of its changes, which sweepers add to that row: whoever stores or
-- removes something inserts a change, and waits for nobody.
CREATE TABLE project_usage (
    project_id   text PRIMARY KEY,
    stored_bytes bigint NOT NULL,
    objects      bigint NOT NULL,
    models       bigint NOT NULL
);
CREATE TABLE project_usage_change (
    serial       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id   text NOT NULL,
    stored_bytes bigint NOT NULL DEFAULT 0,
    objects      bigint NOT NULL DEFAULT 0,
    models       bigint NOT NULL DEFAULT 0
);
CREATE INDEX project_usage_change_project ON project_usage_change (project_id);

CREATE FUNCTION count_blobs() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO project_usage_change (project_id, stored_bytes, objects)
        SELECT project_id, sum(size_bytes), count(*) FROM added GROUP BY project_id;
    ELSE
        INSERT INTO project_usage_change (project_id, stored_bytes, objects)
        SELECT project_id, -sum(size_bytes), -count(*) FROM removed GROUP BY project_id;
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION count_models() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO project_usage_change (project_id, models) SELECT project_id, count(*) FROM added GROUP BY project_id;
    ELSE
        INSERT INTO project_usage_change (project_id, models)
        SELECT project_id, -count(*) FROM removed GROUP BY project_id;
    END IF;
    RETURN NULL;
END $$;
-- A blob's size and the project of a blob or a model never change: updates count nothing.
CREATE TRIGGER blob_added AFTER INSERT ON blob
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_blobs();
CREATE TRIGGER blob_removed AFTER DELETE ON blob
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION count_blobs();
CREATE TRIGGER model_added AFTER INSERT ON model
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_models();
CREATE TRIGGER model_removed AFTER DELETE ON model
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION count_models();

INSERT INTO project_usage (project_id, stored_bytes, objects, models)
SELECT p.id,
       (SELECT coalesce(sum(b.size_bytes), 0) FROM blob b WHERE b.project_id = p.id),
       (SELECT count(*) FROM blob b WHERE b.project_id = p.id),
       (SELECT count(*) FROM model m WHERE m.project_id = p.id)
  FROM project p;
