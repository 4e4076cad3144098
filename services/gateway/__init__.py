"""The gateway: the public API, and the registry as clients see it.

Consumes: archive.extracted, archive.rejected, archive.parked, archive.progressed (of the previous release), and by
plain NATS progress.streams; model.validated, model.rejected, model.validation_parked; object.unclaimed, object.missing,
object.found, object.audited; dead letters of uploads and models.
Emits: upload.opened, upload.part_stored, upload.completed, upload.aborted, upload.expired, upload.failed;
model.registered, model.validation_requested; object.dropped; for operators upload.resume_requested and
object.audit_requested.
Owns: projects and their keys; upload sessions and their parts; models, versions, files, and the objects behind them;
what the last audits found.
"""
