"""The registry of models: versions, files, verdicts; see `routes` for the table of contents."""
