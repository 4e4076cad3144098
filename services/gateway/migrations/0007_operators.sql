-- For operators: audits, and what is parked.

-- What lifecycle found when it compared storage with what is registered; the last few times.

CREATE TABLE audit (
    id              text PRIMARY KEY,  -- of the event
    at              timestamptz NOT NULL,
    objects         bigint NOT NULL,
    size_bytes      bigint NOT NULL,
    unclaimed       bigint NOT NULL,
    missing         bigint NOT NULL,
    foreign_objects bigint NOT NULL,
    stopped         text,
    keys            text[] NOT NULL
);
CREATE INDEX audit_listed ON audit (at DESC);

-- What is parked, for operators: since when, and found without reading all streams.
ALTER TABLE upload_stream ADD COLUMN parked_at timestamptz;
CREATE INDEX upload_stream_parked ON upload_stream (upload_id) WHERE waiting_for IS NOT NULL AND NOT unpacked;
