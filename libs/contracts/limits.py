"""Numbers that two services share, or a service and the client."""

from __future__ import annotations

# Files of one model
MAX_FILES = 2_000
MAX_PATH_BYTES = 512  # UTF-8
MAX_NAME_BYTES = 255  # UTF-8; the limit of common file systems for one component of a path
MAX_DEPTH = 16  # components of a path
MAX_LISTING_BYTES = 512 * 1024  # all paths as JSON: an event that lists them with their hashes stays below 1 MiB

# Parts of one upload
MAX_PARTS = 10_000  # of an archive, or of one file; S3 allows as many in a multipart upload

# Events
MAX_EVENT_BYTES = 4 * 1024 * 1024  # half of NATS's max_payload: a dead letter holds the event as base64
MAX_FINDINGS = 200  # of one report
MAX_FINDINGS_BYTES = 600 * 1024  # of one report, as JSON: the event stays below 1 MiB
