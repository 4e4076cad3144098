"""The resource of imports: models that are in another object store, S3 or Azure, become models here.

An import is an upload (`services.gateway.uploads`) whose files the extractor fetches: it is in processing from its
beginning, and everything about it but its opening is as of any upload.
Emits: upload.opened for each file, upload.completed.

    listing      what is in the source, by the rules for a model's files
    transitions  opens the upload, asks for its files
"""
