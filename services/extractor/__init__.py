"""The extractor: archives and chunked files become files, while their parts are still arriving.

Consumes: upload.aborted, upload.completed, upload.expired, upload.failed, upload.opened, upload.part_stored,
upload.resume_requested.
Emits: archive.extracted, archive.parked, archive.rejected.
Tables: ended_upload, extraction, extraction_file, extraction_part.
Owns: one extraction a stream, the parts of it that are stored, and the files of it that are. Reads the parts' objects,
writes the files'.

    handlers   what events say becomes rows, and a signal
    worker     claims rows by lease, keeps the leases, gives each claim an attempt
    attempt    one try at one stream, and what follows from how it ends
    parts      the stream's bytes in order, read ahead as they land
    progress   how far streams are, told over plain NATS once a second
    unpacking  bytes -> files, in threads; files -> objects (the readers are pure: libs.archives.unpack)
"""
