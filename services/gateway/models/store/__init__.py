"""The SQL of `model`, `model_file` and `blob`; one function a statement."""
