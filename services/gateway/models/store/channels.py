"""Channels of signals: what they say has changed in the tables of this folder."""

MODEL_CHANGED = "model"  # with a model's id: its verdict has come
