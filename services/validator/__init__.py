"""The validator: files -> verdict.

Consumes: model.validation_requested.
Emits: model.validated or model.rejected, again for each repeat of the request; model.validation_parked.
Owns: one row a validation until its verdict, the verdicts, and what was read of each file.

It reads headers and small files by range, never the weights, and runs nothing of what was uploaded. A model is rejected
for what vLLM would not load, and for what would run code wherever it is unpickled.

    handlers    what the event says becomes a row, and a signal
    worker      claims rows by lease, keeps the leases, gives each claim an attempt
    attempt     one try at one model, and what follows from how it ends
    reading     files -> pieces: headers and small files, by range
    inspection  the pieces of all files of a model, by path
    judging     inspection -> report, by the rules
"""
