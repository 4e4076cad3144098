"""The validator: the files of a model -> a verdict on it.

Consumes: model.validation_requested, project.deleted, project.limited.
Emits: model.rejected, model.validated, model.validation_parked.
Tables: inspected, project, validation, verdict.
Owns: one row a validation until its verdict, the verdicts, and the facts that were read of each file.

It reads headers and small files by range, never the weights, and runs nothing of what was uploaded. A model is rejected
for what vLLM would not load, and for what would run code wherever it is unpickled.

    handlers    a request becomes a row, and a signal to the worker
    worker      claims rows by lease, renews the leases, starts an attempt for each claim
    attempt     one attempt at one model, and what follows from how it ends
    reader      files -> facts: headers and small files, by range
    facts       what was read of a file, and of all files of a model
    model       the view of a model that rules and metadata are given
    rules       model -> findings
    metadata    model -> what the registry shows of it
    report      findings and metadata, bounded
"""
