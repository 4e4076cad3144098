-- This installation. Its id is made once, here, and written into its bucket; nothing is deleted in a bucket that carries
-- another one. `generation` grows with every audit, here before in the bucket: a database that finds a larger one there
-- is older than the bucket (restored from a backup).
CREATE TABLE installation (
    single     boolean PRIMARY KEY DEFAULT true CHECK (single),
    id         text NOT NULL DEFAULT gen_random_uuid()::text,
    generation bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO installation DEFAULT VALUES;

-- Every project that an event named; objects of others are reported and left alone. Rows stay: one a project.
CREATE TABLE project (
    id            text COLLATE "C" PRIMARY KEY,
    first_seen_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO project (id) SELECT project_id FROM object UNION SELECT project_id FROM purge;

-- `missing_since` is set when an object is first not found; `missing_reported_at` when object.missing was emitted.
ALTER TABLE object ADD COLUMN missing_reported_at timestamptz;
CREATE INDEX object_live ON object (key) WHERE state = 'live';
CREATE INDEX object_dropped ON object (key) WHERE state = 'dropped';

-- `target` names what is purged (the prefix, or a digest of the keys): scheduled again, it is the same row.
-- NULL in rows that the previous release made.
ALTER TABLE purge ADD COLUMN target text;
ALTER TABLE purge ADD COLUMN scheduled_at timestamptz NOT NULL DEFAULT now();
CREATE UNIQUE INDEX purge_target ON purge (target) WHERE target IS NOT NULL;
CREATE INDEX purge_turn ON purge (project_id, due_at);
CREATE INDEX purge_scheduled ON purge (scheduled_at);

-- Objects in storage that no event named, as the audit `pass` last saw them. Rows of earlier passes go with the next one.
CREATE TABLE unclaimed (
    key        text COLLATE "C" PRIMARY KEY,
    project_id text NOT NULL,
    pass       bigint NOT NULL,
    asks       integer NOT NULL DEFAULT 0,          -- how often the registry was asked
    ask_at     timestamptz NOT NULL DEFAULT now()   -- not before
);
CREATE INDEX unclaimed_pass ON unclaimed (pass, key);

-- One audit is a pass: phases of slices, each claimed by a lease. Counts are of the pass under way, or of the last one.
ALTER TABLE reconciliation
    ADD COLUMN fence            bigint NOT NULL DEFAULT 0,   -- grows with each claim; who holds an older one changes nothing
    ADD COLUMN pass             bigint NOT NULL DEFAULT 0,
    ADD COLUMN phase            text NOT NULL DEFAULT 'idle'
                                CHECK (phase IN ('idle', 'scan', 'confirm', 'ask', 'forget')),
    ADD COLUMN cursor_key       text COLLATE "C" NOT NULL DEFAULT '', -- the last key that the phase has done
    ADD COLUMN fix              boolean NOT NULL DEFAULT false,       -- an operator has decided; ends with the pass
    ADD COLUMN started_at       timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN stopped          text,                        -- why nothing is done about what is found
    ADD COLUMN objects          bigint NOT NULL DEFAULT 0,
    ADD COLUMN size_bytes       bigint NOT NULL DEFAULT 0,
    ADD COLUMN files            bigint NOT NULL DEFAULT 0,   -- of `objects`, those of models; the others are parts
    ADD COLUMN unclaimed        bigint NOT NULL DEFAULT 0,
    ADD COLUMN unclaimed_files  bigint NOT NULL DEFAULT 0,   -- of `unclaimed`, those of models
    ADD COLUMN missing          bigint NOT NULL DEFAULT 0,
    ADD COLUMN newly_missing    bigint NOT NULL DEFAULT 0,   -- of `missing`, those not reported before
    ADD COLUMN foreign_objects  bigint NOT NULL DEFAULT 0,
    ADD COLUMN expected_objects bigint NOT NULL DEFAULT 0;   -- stored or missing, by the last whole pass
