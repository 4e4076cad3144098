-- Every object that was ever registered or dropped. Byte order, as S3 lists, so that a page of a listing is a range.
CREATE TABLE object (
    key           text COLLATE "C" PRIMARY KEY,
    project_id    text NOT NULL,
    size_bytes    bigint,                   -- NULL where it was dropped without ever being registered
    sha256        text,
    tier          text NOT NULL DEFAULT 'hot' CHECK (tier IN ('hot', 'cold')),
    state         text NOT NULL CHECK (state IN ('live', 'dropped', 'deleted')),
    reason        text,                     -- why it was dropped
    registered_at timestamptz,
    changed_at    timestamptz NOT NULL,
    missing_since timestamptz,              -- live, but not found in storage
    CHECK (state <> 'live' OR (size_bytes IS NOT NULL AND sha256 IS NOT NULL AND registered_at IS NOT NULL)),
    CHECK (state = 'live' OR (reason IS NOT NULL AND missing_since IS NULL))
);
CREATE INDEX object_deleted ON object (changed_at) WHERE state = 'deleted';
CREATE INDEX object_missing ON object (key) WHERE missing_since IS NOT NULL;

-- Who holds on to a live object, as far as was told. Only object.dropped ends a hold: the registry's word is the truth.
CREATE TABLE reference (
    key         text COLLATE "C" NOT NULL REFERENCES object ON DELETE CASCADE,
    holder_kind text NOT NULL,              -- model
    holder_id   text NOT NULL,
    PRIMARY KEY (key, holder_kind, holder_id)
);

-- What is to be deleted: all that is not live under a prefix, or single keys. The row goes after the last pass.
CREATE TABLE purge (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id   text NOT NULL,
    prefix       text,
    keys         text[],
    reason       text NOT NULL,
    pass         integer NOT NULL DEFAULT 0, -- 0 at once, the later ones for whoever was still writing
    due_at       timestamptz NOT NULL,
    failures     integer NOT NULL DEFAULT 0, -- of this pass
    leased_by    text,
    lease_until  timestamptz,
    CHECK (num_nonnulls(prefix, keys) = 1),
    CHECK ((leased_by IS NULL) = (lease_until IS NULL))
);
CREATE INDEX purge_due ON purge (due_at);
CREATE INDEX purge_prefix ON purge (prefix) WHERE prefix IS NOT NULL;

-- One row: when storage is next compared with `object`, and who is at it.
CREATE TABLE reconciliation (
    single      boolean PRIMARY KEY DEFAULT true CHECK (single),
    due_at      timestamptz NOT NULL,
    finished_at timestamptz,
    leased_by   text,
    lease_until timestamptz
);
INSERT INTO reconciliation (due_at) VALUES (now());
