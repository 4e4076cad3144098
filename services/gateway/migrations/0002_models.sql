-- The registry as clients see it: one row a version of a model, its files, and the objects that hold them.

CREATE TABLE model (
    id                text PRIMARY KEY,
    serial            bigint GENERATED ALWAYS AS IDENTITY,  -- order of creation
    project_id        text NOT NULL REFERENCES project (id),
    name              text NOT NULL,
    version           text NOT NULL,
    is_latest         boolean NOT NULL DEFAULT false,
    status            text NOT NULL DEFAULT 'uploading'
                      CHECK (status IN ('uploading', 'processing', 'validating', 'ready', 'active', 'error', 'deleting')),
    status_reason     text,
    size_bytes        bigint NOT NULL DEFAULT 0,
    file_count        integer NOT NULL DEFAULT 0,
    description       text,
    license           text,
    format            text,
    architecture      text,
    quantization      text,
    context_length    bigint,
    parameter_count   bigint,
    hidden_size       bigint,
    num_layers        bigint,
    vocab_size        bigint,
    dtype             text,
    workload_type     text NOT NULL DEFAULT 'chat',
    memory            jsonb,
    deployable        boolean,
    deployable_reason text,
    validation_id     text,
    report            jsonb,
    validated_at      timestamptz,
    is_shared         boolean NOT NULL DEFAULT false,
    catalog_role      text,
    deadline_at       timestamptz,  -- while 'validating': when the sweeper asks again
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, name, version),
    CHECK (status <> 'error' OR status_reason IS NOT NULL),
    CHECK (status <> 'validating' OR (deadline_at IS NOT NULL AND validation_id IS NOT NULL))
);
CREATE UNIQUE INDEX model_latest ON model (project_id, name) WHERE is_latest;
CREATE INDEX model_listed ON model (project_id, serial DESC);
CREATE INDEX model_waiting ON model (deadline_at) WHERE status = 'validating';

-- One object per content and project: files of the same sha256 share it.
CREATE TABLE blob (
    project_id text NOT NULL REFERENCES project (id),
    sha256     text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    size_bytes bigint NOT NULL,
    key        text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, sha256)
);

CREATE TABLE model_file (
    model_id   text NOT NULL REFERENCES model (id) ON DELETE CASCADE,
    path       text NOT NULL,
    project_id text NOT NULL,
    sha256     text NOT NULL,
    PRIMARY KEY (model_id, path),
    FOREIGN KEY (project_id, sha256) REFERENCES blob (project_id, sha256)
);
CREATE INDEX model_file_blob ON model_file (project_id, sha256);
