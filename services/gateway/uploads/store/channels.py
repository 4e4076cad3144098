"""Channels of signals: what they say has changed in the tables of this folder."""

UPLOAD_CHANGED = "upload"  # with an upload's id: at every change of its state, and when it begins to wait
JOINING_ENDED = "upload_completing"  # with an object's key: a request no longer makes it of its parts
