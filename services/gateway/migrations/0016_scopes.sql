-- Scopes have halves: a key may read without being able to change anything.
ALTER TABLE api_key
    DROP CONSTRAINT api_key_scopes_check,
    ADD CONSTRAINT api_key_scopes_check CHECK (scopes <@ ARRAY['models', 'models:read', 'models:write', 'files',
                                                               'files:read', 'files:write', 'batches', 'inference']);
