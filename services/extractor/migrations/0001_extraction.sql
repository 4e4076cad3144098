-- One stream of parts to be unpacked. `open` until it ends; who works on it holds its lease.
CREATE TABLE extraction (
    stream_id    text PRIMARY KEY,
    upload_id    text NOT NULL,
    stream       jsonb NOT NULL,                    -- libs.contracts.PartStream
    state        text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'extracted', 'rejected', 'stopped')),
    result       jsonb,                             -- the event that told how it ended, to be told again
    total_parts  integer NOT NULL CHECK (total_parts > 0),
    ready_parts  integer NOT NULL DEFAULT 0,        -- how many are there from the first one on without a gap
    wanted_parts integer NOT NULL DEFAULT 1,        -- not worth a claim with fewer ready; raised by parking
    leased_by    text,                              -- the process that works on it ...
    lease_until  timestamptz,                       -- ... unless it dies
    fence        bigint NOT NULL DEFAULT 0,         -- counts claims: a claim that lost its lease has an old number
    deaths       integer NOT NULL DEFAULT 0,        -- claims in a row, the present one too, that never ended
    failures     integer NOT NULL DEFAULT 0,        -- attempts that ended in an error of ours
    troubles     integer NOT NULL DEFAULT 0,        -- how often it was put off, for whatever reason
    not_before   timestamptz NOT NULL DEFAULT now(),-- backoff; also the order in which claims are made
    request_id   text,                              -- of the request that opened it, for logs and events
    traceparent  text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    ended_at     timestamptz,
    CHECK ((leased_by IS NULL) = (lease_until IS NULL)),
    CHECK (state = 'open' OR leased_by IS NULL),
    CHECK ((state IN ('extracted', 'rejected')) = (result IS NOT NULL)),
    CHECK ((state = 'open') = (ended_at IS NULL))
);
CREATE INDEX extraction_claimable ON extraction (not_before) WHERE state = 'open';
CREATE INDEX extraction_upload ON extraction (upload_id);
CREATE INDEX extraction_ended ON extraction (ended_at) WHERE state <> 'open';

-- Parts in storage; they may be told of before their stream is, so there is no foreign key.
CREATE TABLE extraction_part (
    stream_id  text NOT NULL,
    number     integer NOT NULL CHECK (number >= 0),
    attempt    text NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    upload_id  text NOT NULL,
    PRIMARY KEY (stream_id, number)
);
CREATE INDEX extraction_part_upload ON extraction_part (upload_id);

-- Uploads that were aborted, expired or failed: what is told of them later is not begun.
CREATE TABLE ended_upload (
    upload_id text PRIMARY KEY,
    ended_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ended_upload_ended ON ended_upload (ended_at);
