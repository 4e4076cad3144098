-- Uploads whose files clients put into storage themselves, by signed URLs.
ALTER TABLE upload
    ADD COLUMN secret bytea,  -- signs the URLs by which its files are sent to the gateway without a key
    DROP CONSTRAINT upload_kind_check,
    ADD CONSTRAINT upload_kind_check CHECK (kind IN ('archive', 'directory', 'signed'));

ALTER TABLE upload_stream
    DROP CONSTRAINT upload_stream_format_check,
    ADD CONSTRAINT upload_stream_format_check CHECK (format IN ('tar', 'tar.gz', 'tar.bz2', 'raw', 'object', 'staged'));

ALTER TABLE model
    ADD COLUMN declared           jsonb,  -- what its client said of it when it was created, in a foreign API's words
    ADD COLUMN validation_options jsonb;  -- libs.contracts.ValidationOptions of its verdict; NULL: none
