-- Projects and their keys. Of a key only its SHA-256 is kept.

CREATE TABLE project (
    id         text PRIMARY KEY CHECK (id ~ '^proj_[0-9A-HJKMNP-TV-Z]{10}$'),
    serial     bigint GENERATED ALWAYS AS IDENTITY,  -- order of creation
    name       text NOT NULL UNIQUE,
    slug       text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9]+$'),  -- no underscore: xero_{slug}_{secret} has to part
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz  -- from then on none of its keys works
);

CREATE TABLE api_key (
    id         text PRIMARY KEY,
    serial     bigint GENERATED ALWAYS AS IDENTITY,
    project_id text NOT NULL REFERENCES project (id),
    name       text,  -- for people to know it by
    sha256     bytea NOT NULL UNIQUE CHECK (octet_length(sha256) = 32),
    prefix     text NOT NULL,  -- how the key begins, for people to recognise it by
    scopes     text[] NOT NULL CHECK (scopes <@ ARRAY['models', 'files', 'batches', 'inference']),
    role       text NOT NULL CHECK (role IN ('member', 'admin')),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX api_key_listed ON api_key (project_id, serial);
