"""The resource `admin`: how the services are, what is parked, audits of storage; for the operator.

Consumes: object.audited.
Emits: object.audit_requested; through uploads and models: upload.resume_requested, model.validation_requested.
Owns: the table `audit`.
"""
