-- One request at a time has the object store make a file of its parts.
ALTER TABLE upload_transfer ADD COLUMN completing_until timestamptz;  -- a request is at it, unless its process died
