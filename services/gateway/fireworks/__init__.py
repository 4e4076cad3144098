"""The resource `fireworks`: models and their uploads as the REST API of Fireworks has them.

The documented script runs against it: create a model, ask for signed URLs, put the files there, poll validateUpload.
Below it are the uploads of the kind `signed` (services/gateway/uploads/staging.py) and the registry's own models; a
model of Fireworks is a name, and of its versions the latest usable one, or else the newest.
Emits: what uploads and models do.
"""
