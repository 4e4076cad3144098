"""Uploads: archives in parts, directories file by file, with a key or by signed URLs. `routes` has all.

Consumes: archive.extracted, archive.rejected, archive.parked, archive.progressed (of the previous release), and by
plain NATS progress.streams; dead letters of uploads.
Emits: upload.opened, upload.part_stored, upload.completed, upload.aborted, upload.expired, upload.failed; by the
operator's order upload.resume_requested; object.dropped.
Owns: uploads, their streams, parts and files.

A walk of a part, from its route until its model waits for a verdict: `routes.parts` (`receiving` stores the bytes,
`transitions.store_part` records them), `routes.ending` (`transitions.complete`), `handlers` (`transitions.unpack`, and
with the last stream `register`).
"""
