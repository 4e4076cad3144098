"""Ids of findings that two services name: one reports them, another acts on them."""

from __future__ import annotations

# The format is in order, but the bytes are not those that the client declared
ARCHIVE_CHECKSUM = "archive-checksum"
FILE_CHECKSUM = "file-checksum"
CHECKSUM_RULES = frozenset({ARCHIVE_CHECKSUM, FILE_CHECKSUM})

# A file of an import is no longer what was listed
SOURCE_CHANGED = "source-changed"

WEIGHTS_MISSING = "weights-missing"  # a model that has its configuration at most
