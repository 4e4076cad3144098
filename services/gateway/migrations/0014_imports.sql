-- Imports from other object stores, and the secrets by which these are read.

-- Credentials of a project: encrypted (libs/sealing), replaced by name, never shown.
CREATE TABLE secret (
    project_id   text NOT NULL REFERENCES project (id) ON DELETE CASCADE,
    name         text NOT NULL,
    type         text NOT NULL CHECK (type IN ('s3', 'azure')),
    sealed       text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),  -- or replaced
    last_used_at timestamptz,                         -- by an import
    PRIMARY KEY (project_id, name)
);

-- Where an upload of the kind 'import' reads its files. It goes with its upload.
CREATE TABLE upload_source (
    upload_id  text PRIMARY KEY REFERENCES upload (id) ON DELETE CASCADE,
    project_id text NOT NULL,
    source     text NOT NULL,  -- as its client wrote it
    kind       text NOT NULL CHECK (kind IN ('s3', 'azure')),
    endpoint   text NOT NULL,
    container  text NOT NULL,
    region     text,
    secret     text            -- its name, no reference: it may be deleted, and made again
);
CREATE INDEX upload_source_secret ON upload_source (project_id, secret) WHERE secret IS NOT NULL;

ALTER TABLE upload
    DROP CONSTRAINT upload_kind_check,
    ADD CONSTRAINT upload_kind_check CHECK (kind IN ('archive', 'directory', 'import', 'signed'));

-- A file in another store is a stream of one part, which is all of it.
ALTER TABLE upload_stream
    ADD COLUMN source_key  text,  -- there
    ADD COLUMN source_etag text,  -- of the version that was listed
    DROP CONSTRAINT upload_stream_format_check,
    ADD CONSTRAINT upload_stream_format_check
        CHECK (format IN ('tar', 'tar.gz', 'tar.bz2', 'raw', 'object', 'remote', 'staged')),
    ADD CONSTRAINT upload_stream_source_check
        CHECK ((format = 'remote') = (source_key IS NOT NULL) AND (source_key IS NULL) = (source_etag IS NULL));
