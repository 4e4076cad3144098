-- More that an audit finds: sizes, tiers, and what deleted models still hold.
ALTER TABLE audit
    ADD COLUMN unclaimed_bytes bigint NOT NULL DEFAULT 0,
    ADD COLUMN missing_bytes   bigint NOT NULL DEFAULT 0,
    ADD COLUMN cold_objects    bigint NOT NULL DEFAULT 0,
    ADD COLUMN cold_bytes      bigint NOT NULL DEFAULT 0,
    ADD COLUMN leftovers       bigint NOT NULL DEFAULT 0,
    ADD COLUMN leftover_bytes  bigint NOT NULL DEFAULT 0,
    ADD COLUMN misplaced       bigint NOT NULL DEFAULT 0,
    ADD COLUMN expiring        bigint NOT NULL DEFAULT 0,
    ADD COLUMN expiring_bytes  bigint NOT NULL DEFAULT 0;
