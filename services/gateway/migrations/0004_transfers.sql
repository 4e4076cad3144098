-- Files as resumable streams, parking, sliding expiry, idempotent opening; and an index for every sweep.

-- A file of a directory on its way into one object: by one stream that is resumed (part_count IS NULL), or by chunks in
-- any order. The row goes when the file is whole.
CREATE TABLE upload_transfer (
    upload_id    text NOT NULL,
    number       integer NOT NULL,               -- of the file
    key          text NOT NULL,                  -- of the object that the parts become
    multipart_id text,                           -- S3's; NULL until the first part
    part_count   integer,                        -- chunks that the client announced
    part_bytes   bigint NOT NULL,                -- of every part but the last
    parts_stored integer NOT NULL DEFAULT 0,
    held_bytes   bigint NOT NULL DEFAULT 0,      -- in storage: the parts, and the tail
    held_by      bigint NOT NULL DEFAULT 0,      -- the fence under which the last part came to be
    next_part    integer NOT NULL DEFAULT 1,     -- S3's number of the next part; never one that an older writer may use
    fence        bigint NOT NULL DEFAULT 1,      -- of the request that may record; a new request takes the next
    writing      boolean NOT NULL DEFAULT false, -- that request may have a part under way
    tail_key     text,                           -- the object of the bytes beyond the last whole part
    tail_bytes   bigint NOT NULL DEFAULT 0,
    sha256       text,                           -- of the file, as its requests declared it
    PRIMARY KEY (upload_id, number),
    FOREIGN KEY (upload_id, number) REFERENCES upload_file (upload_id, number) ON DELETE CASCADE,
    CHECK ((tail_key IS NULL) = (tail_bytes = 0))
);

CREATE TABLE upload_transfer_part (
    upload_id   text NOT NULL,
    file_number integer NOT NULL,
    number      integer NOT NULL,  -- 0-based, in the order of the file
    s3_number   integer NOT NULL,
    etag        text NOT NULL,
    size_bytes  bigint NOT NULL,
    sha256      text,              -- of a chunk; NULL for a part of a stream
    PRIMARY KEY (upload_id, file_number, number),
    FOREIGN KEY (upload_id, file_number) REFERENCES upload_transfer (upload_id, number) ON DELETE CASCADE
);

ALTER TABLE upload_file
    ADD COLUMN refused  text,                        -- why the bytes that were sent last do not count
    ADD COLUMN refusals integer NOT NULL DEFAULT 0;  -- each makes the file's next stream another one

ALTER TABLE upload_stream
    ADD COLUMN key         text,                        -- of the file that is one object already
    ADD COLUMN parts_known integer NOT NULL DEFAULT 0,  -- as the extractor reports
    ADD COLUMN asks        integer NOT NULL DEFAULT 0,  -- how often the extractor was asked again in vain
    ADD COLUMN waiting_for text,                        -- why it is parked
    DROP CONSTRAINT upload_stream_format_check,
    ADD CONSTRAINT upload_stream_format_check CHECK (format IN ('tar', 'tar.gz', 'tar.bz2', 'raw', 'object'));

ALTER TABLE upload
    ADD COLUMN processing_at timestamptz,  -- when its client completed it
    ADD COLUMN ended_at      timestamptz,
    ADD COLUMN pruned        boolean NOT NULL DEFAULT false;  -- the rows of its parts and files are gone
CREATE INDEX upload_processing ON upload (coalesce(processing_at, expires_at)) WHERE status = 'processing';
CREATE INDEX upload_ended ON upload (coalesce(ended_at, expires_at))
    WHERE NOT pruned AND status IN ('completed', 'failed', 'aborted', 'expired');
CREATE INDEX upload_model ON upload (model_id);

-- What an Idempotency-Key was answered, for a day.
CREATE TABLE upload_opening (
    project_id      text NOT NULL REFERENCES project (id),
    idempotency_key text NOT NULL,
    body_sha256     text NOT NULL,
    answer          jsonb,  -- NULL while the transaction that opens the session runs
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, idempotency_key)
);
CREATE INDEX upload_opening_created ON upload_opening (created_at);

CREATE INDEX blob_size ON blob (project_id, size_bytes);
