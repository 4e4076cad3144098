-- Upload sessions: what was announced, what has arrived, and how far it has been unpacked.

CREATE TABLE upload (
    id               text PRIMARY KEY,
    serial           bigint GENERATED ALWAYS AS IDENTITY,
    project_id       text NOT NULL REFERENCES project (id),
    model_id         text NOT NULL,  -- no reference: an aborted upload outlives its model's row
    model_name       text NOT NULL,
    model_version    text NOT NULL,
    kind             text NOT NULL CHECK (kind IN ('archive', 'directory')),
    status           text NOT NULL DEFAULT 'open'
                     CHECK (status IN ('open', 'processing', 'completed', 'failed', 'aborted', 'expired')),
    chunk_size_bytes bigint NOT NULL,
    error            jsonb,  -- {message, code, finding}
    created_at       timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL,
    CHECK (status <> 'failed' OR error IS NOT NULL)
);
CREATE INDEX upload_listed ON upload (project_id, serial DESC);
CREATE INDEX upload_expiring ON upload (expires_at) WHERE status = 'open';

-- A sequence of parts that the extractor unpacks: the archive, or one file of a directory that is sent in chunks.
CREATE TABLE upload_stream (
    id              text PRIMARY KEY,
    upload_id       text NOT NULL REFERENCES upload (id),
    number          integer NOT NULL,
    format          text NOT NULL CHECK (format IN ('tar', 'tar.gz', 'tar.bz2', 'raw')),
    path            text,
    size_bytes      bigint NOT NULL,
    total_parts     integer NOT NULL,
    sha256          text,
    unpacked        boolean NOT NULL DEFAULT false,
    parts_stored    integer NOT NULL DEFAULT 0,
    bytes_stored    bigint NOT NULL DEFAULT 0,
    parts_done      integer NOT NULL DEFAULT 0,   -- as the extractor reports
    members         integer NOT NULL DEFAULT 0,
    bytes_out       bigint NOT NULL DEFAULT 0,
    stripped_prefix text,
    dropped         text[] NOT NULL DEFAULT '{}',
    deadline_at     timestamptz,                  -- while parts wait to be unpacked: when the sweeper tells again
    UNIQUE (upload_id, number),
    CHECK (parts_stored <= total_parts AND bytes_stored <= size_bytes)
);
CREATE INDEX upload_stream_waiting ON upload_stream (deadline_at) WHERE NOT unpacked;

CREATE TABLE upload_part (
    stream_id  text NOT NULL REFERENCES upload_stream (id),
    number     integer NOT NULL,
    attempt    text NOT NULL,
    size_bytes bigint NOT NULL,
    sha256     text NOT NULL,
    PRIMARY KEY (stream_id, number)
);

-- The files of a session: of a directory from its manifest, of an archive when it has been unpacked.
CREATE TABLE upload_file (
    upload_id       text NOT NULL REFERENCES upload (id),
    number          integer NOT NULL,
    path            text NOT NULL,
    size_bytes      bigint NOT NULL,
    declared_sha256 text,
    sha256          text,  -- of the bytes that arrived; NULL until then
    key             text,
    present         boolean NOT NULL DEFAULT false,  -- the project had it before
    PRIMARY KEY (upload_id, number),
    UNIQUE (upload_id, path),
    CHECK ((sha256 IS NULL) = (key IS NULL))
);
