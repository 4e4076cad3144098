"""The extractor: archives and chunked files become files, while their parts are still arriving.

Consumes: upload.aborted, upload.completed, upload.expired, upload.failed, upload.opened, upload.part_stored,
upload.resume_requested.
Emits: archive.extracted, archive.parked, archive.rejected.
Tables: ended_upload, extraction, extraction_file, extraction_part.
Owns: one extraction a stream, the parts of it that are stored, and the files of it that are. Reads the parts' objects,
writes the files'.

    handlers   events become rows, and a signal to the worker
    worker     claims rows by lease, and gives each an attempt
    attempt    one try at one stream, and what follows from its outcome
    parts      the stream's bytes in order, read ahead as they are stored
    progress   progress of streams, published over plain NATS once a second
    states     the states of an extraction as a table
    store      all SQL: streams, leases, files, retention
    unpacking  bytes -> files, in threads; files -> objects (the readers are pure: libs.archives.unpack)
"""
