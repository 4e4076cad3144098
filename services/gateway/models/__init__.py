"""The resource `models`: the registry of models with their versions, files and verdicts.

Consumes: model.validated, model.rejected, model.validation_parked; object.unclaimed, object.missing, object.found; dead
letters of model.validation_requested, model.validated and model.rejected.
Emits: model.registered, model.validation_requested; object.dropped.
Owns: the tables `model`, `model_file` and `blob`.
"""
