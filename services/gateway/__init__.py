"""The gateway: the public API, and the registry as clients see it.

Consumes: archive.extracted, archive.parked, archive.progressed, archive.rejected, model.rejected, model.validated,
model.validation_parked, object.audited, object.found, object.missing, object.unclaimed, project.purged.
Emits: model.deleted, model.erased, model.registered, model.restored, model.validation_requested,
object.audit_requested, object.dropped, project.deleted, project.limited, upload.aborted, upload.completed,
upload.expired, upload.failed, upload.opened, upload.part_stored, upload.resume_requested.
Dead letters: archive.extracted, archive.rejected, model.rejected, model.validated, model.validation_requested,
upload.completed, upload.opened, upload.part_stored.
Tables: api_key, audit, blob, member, model, model_file, project, project_feature, project_usage, project_usage_change,
secret, upload, upload_file, upload_opening, upload_part, upload_source, upload_stream, upload_transfer,
upload_transfer_attempt, upload_transfer_part.
Owns: projects, their features, members and keys; upload sessions and their parts; models, versions, files, and the
objects behind them; what the last audits found. The extractor's progress comes by plain NATS (progress.streams).
"""
