"""The validator: files -> verdict.

Consumes: model.validation_requested.
Emits: model.validated or model.rejected, again for each repeat of the request.
Owns: verdicts, one a validation.

It reads headers and small files by range, never the weights, and runs nothing of what was uploaded. A model is rejected
for what vLLM would not load, and for what would run code wherever it is unpickled.
"""
