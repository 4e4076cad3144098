-- Attempts at a chunk that becomes a part of an S3 multipart upload: each has an S3 number of its own.
CREATE TABLE upload_transfer_attempt (
    upload_id   text NOT NULL,
    file_number integer NOT NULL,
    number      integer NOT NULL,  -- of the chunk, 0-based
    attempts    integer NOT NULL DEFAULT 1,
    PRIMARY KEY (upload_id, file_number, number),
    FOREIGN KEY (upload_id, file_number) REFERENCES upload_transfer (upload_id, number) ON DELETE CASCADE
);
