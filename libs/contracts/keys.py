"""Where bytes are kept: opaque keys under the project's prefix; no user's path ever reaches storage.

`{project}/uploads/{upload}/…` holds parts, which go when the upload ends; `{project}/objects/{upload}/…` holds the
files of models, named after the upload that brought them, so that whatever a failed upload left is found by prefix.
"""

from __future__ import annotations

import hashlib
import re
import secrets

_UPLOAD_ID = re.compile(r"^[^/]+/(?:uploads|objects)/([^/]+)/")


def parts_prefix(project_id: str, upload_id: str) -> str:
    """Every part of an upload is under this."""
    return f"{project_id}/uploads/{upload_id}/"


def objects_prefix(project_id: str, upload_id: str) -> str:
    """Every file that an upload brought is under this."""
    return f"{project_id}/objects/{upload_id}/"


def project_prefix(project_id: str) -> str:
    """Everything of a project is under this."""
    return f"{project_id}/"


def new_attempt() -> str:
    """An `attempt` for the keys below: keeps the objects of several attempts at one part or file apart."""
    return secrets.token_hex(4)


def part_key(project_id: str, upload_id: str, stream_number: int, part_number: int, attempt: str) -> str:
    """The object of one part; `attempt` keeps two racing requests for the same part apart."""
    return f"{parts_prefix(project_id, upload_id)}{stream_number}/{part_number}-{attempt}"


def staged_key(project_id: str, upload_id: str, path: str) -> str:
    """Where a client itself puts a file, by a signed URL: the same for the same path, and never what is kept."""
    return f"{parts_prefix(project_id, upload_id)}staged/{hashlib.sha256(path.encode()).hexdigest()[:32]}"


def file_key(project_id: str, upload_id: str, file_number: int, attempt: str) -> str:
    """The object of a file that was sent whole, in one request."""
    return f"{objects_prefix(project_id, upload_id)}f{file_number}-{attempt}"


def member_key(project_id: str, upload_id: str, stream: int | str, fence: int, member_number: int) -> str:
    """The object of a file unpacked from a stream; `fence` is its writer's, so that nobody overwrites another's.

    `stream` is what its id says beyond the upload's: its number, and where the file was refused before, how often.
    """
    return f"{objects_prefix(project_id, upload_id)}m{stream}-{fence}-{member_number}"


def upload_of(key: str) -> str | None:
    """The upload that brought the object, or None for a key of another kind."""
    match = _UPLOAD_ID.match(key)
    return match.group(1) if match else None
