-- What refers to objects: one row a model, from its registration or its deletion on, whichever is told first.
-- The registry decides when it is erased; until then a deleted model can be restored.
CREATE TABLE holder (
    id         text PRIMARY KEY,           -- as in reference.holder_id
    kind       text NOT NULL,              -- model
    until      timestamptz,                -- it is deleted, and will be erased then
    erased     boolean NOT NULL DEFAULT false,
    changed_at timestamptz NOT NULL        -- when the deletion, restoration or erasure happened that counts
);
CREATE INDEX holder_erased ON holder (changed_at) WHERE erased;
CREATE INDEX reference_holder ON reference (holder_id, key);

-- Objects that nobody reads may be moved to another bucket. All objects of before count as read now.
ALTER TABLE object
    ADD COLUMN last_read_at timestamptz NOT NULL DEFAULT now(), -- by a client, to the hour; or registered
    ADD COLUMN moved_at     timestamptz;                        -- when the last move from or to its tier had ended
CREATE INDEX object_unread ON object (project_id, last_read_at) WHERE state = 'live' AND tier = 'hot';
CREATE INDEX object_cold ON object (key) WHERE state = 'live' AND tier = 'cold';

-- Moves under way: from before the copy until nothing is left in the other tier, so that whoever takes over after a
-- crash knows where there may be a second copy. Only who holds this row's lease writes or deletes a copy of a live object.
CREATE TABLE move (
    key          text COLLATE "C" PRIMARY KEY,
    project_id   text NOT NULL,
    tier         text NOT NULL CHECK (tier IN ('hot', 'cold')), -- where it is to be
    reason       text NOT NULL,
    size_bytes   bigint NOT NULL,
    scheduled_at timestamptz NOT NULL DEFAULT now(),
    due_at       timestamptz NOT NULL DEFAULT now(),
    failures     integer NOT NULL DEFAULT 0,
    fence        bigint NOT NULL DEFAULT 0,
    leased_by    text,
    lease_until  timestamptz,
    CHECK ((leased_by IS NULL) = (lease_until IS NULL))
);
CREATE INDEX move_due ON move (tier DESC, due_at);
CREATE INDEX move_together ON move (project_id, tier, due_at);

-- More that an audit counts.
ALTER TABLE reconciliation
    ADD COLUMN unclaimed_bytes bigint NOT NULL DEFAULT 0,
    ADD COLUMN missing_bytes   bigint NOT NULL DEFAULT 0,
    ADD COLUMN cold_objects    bigint NOT NULL DEFAULT 0,   -- of `objects`, those in the cold tier
    ADD COLUMN cold_bytes      bigint NOT NULL DEFAULT 0,
    ADD COLUMN leftovers       bigint NOT NULL DEFAULT 0,   -- second copies, in the tier that the row does not name
    ADD COLUMN leftover_bytes  bigint NOT NULL DEFAULT 0,
    ADD COLUMN misplaced       bigint NOT NULL DEFAULT 0,   -- only in the tier that the row does not name
    ADD COLUMN expiring        bigint NOT NULL DEFAULT 0,   -- had by deleted models only
    ADD COLUMN expiring_bytes  bigint NOT NULL DEFAULT 0;
