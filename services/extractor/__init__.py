"""The extractor: archives and chunked files become files, while their parts are still arriving.

Consumes: upload.opened, upload.part_stored, upload.completed, upload.aborted, upload.expired, upload.failed.
Emits: archive.progressed, archive.extracted, archive.rejected.
Owns: one extraction a stream, and the parts that it was told of. Reads the parts' objects, writes the files'.

    handlers   what events say becomes rows, and a signal
    worker     claims rows by lease, keeps the leases, gives each claim an attempt
    attempt    one try at one stream, and what follows from how it ends
    parts      the stream's bytes in order, as they land
    unpacking  bytes -> files, in threads; files -> objects (the readers are pure: libs.modelfiles.unpack)
"""
