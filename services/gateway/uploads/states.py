"""The states of an upload session and of the model that it brings.

open -> processing -> completed     (complete was called; everything is unpacked and registered)
processing -> open                  (a file of a directory is wrong, or was lost: it is to be sent again)
open | processing -> failed         (the content was refused, or could not be processed for days)
open | processing -> aborted        (by the client)
open -> expired                     (no progress for too long)
"""

from __future__ import annotations

from typing import Literal

UploadStatus = Literal["open", "processing", "completed", "failed", "aborted", "expired"]

LIVE: tuple[UploadStatus, ...] = ("open", "processing")

# What a client is told that would send to a session, or end it, which is not open.
CLOSED: dict[str, str] = {
    "completed": "This upload is complete; start a new one to upload another version.",
    "processing": "This upload was completed by its client and is being processed; nothing more can be sent.",
    "aborted": "This upload was aborted; start a new one.",
    "expired": "This upload expired before it was completed, and what it had stored was removed; start a new one.",
    "failed": "This upload failed.",
}
