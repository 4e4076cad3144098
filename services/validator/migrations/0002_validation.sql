-- One model that waits for its verdict; the row goes when the verdict is written. Who reads the model holds its lease.
CREATE TABLE validation (
    validation_id text PRIMARY KEY,
    model_id      text NOT NULL,
    project_id    text NOT NULL,
    files         jsonb NOT NULL,                      -- libs.contracts.StoredFile, each
    state         text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'parked')),
    not_before    timestamptz NOT NULL DEFAULT now(),  -- when it may be claimed: a pause ends, or a lease
    leased_by     text,                                -- the process that reads it, until `not_before`
    fence         bigint NOT NULL DEFAULT 0,           -- counts claims: a claim that lost its lease has an old number
    attempts      integer NOT NULL DEFAULT 0,          -- that were begun; too many, and it is parked
    parks         integer NOT NULL DEFAULT 0,          -- how often it was parked in a row
    reason        text,                                -- why it was put off last
    request_id    text,                                -- of the request that asked, for logs and events
    traceparent   text,
    created_at    timestamptz NOT NULL DEFAULT now()
);
-- What a project may have claimed next: first tries before repeated ones, then by age
CREATE INDEX validation_next ON validation (project_id, (attempts > 0), not_before);
CREATE INDEX validation_due ON validation (not_before);
CREATE INDEX validation_leased ON validation (project_id, not_before) WHERE leased_by IS NOT NULL;
CREATE INDEX validation_created ON validation (created_at);

-- What was read of a file: the same bytes in the same project are inspected once.
CREATE TABLE inspected (
    project_id text NOT NULL,
    sha256     text NOT NULL,
    size_bytes bigint NOT NULL,
    kind       text NOT NULL,   -- how it was read, which its name decides
    reader     text NOT NULL,   -- the version of what read it
    piece      bytea NOT NULL,  -- services.validator.pieces.Piece as MessagePack
    kept_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, sha256, size_bytes, kind, reader)
);
CREATE INDEX inspected_kept ON inspected (kept_at);
