"""Uploads whose files are in storage, and the events about them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from libs.blobs import Blobs
from libs.contracts import (
    Event,
    ModelDeleted,
    ModelErased,
    ModelRegistered,
    ModelRestored,
    ObjectDropped,
    StoredFile,
    UploadAborted,
    UploadExpired,
    UploadFailed,
    new_id,
)
from libs.contracts.keys import file_key, member_key, part_key
from libs.db import Pool
from services.lifecycle.groups import call_each
from services.lifecycle.ownership import MARK_KEY

PROJECT = "proj_AAAAAAAAAA"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def stored(key: str, content: bytes = b"x") -> StoredFile:
    """A file of a model with that content."""
    sha256 = hashlib.sha256(content).hexdigest()
    return StoredFile(path=key.rpartition("/")[2], size_bytes=len(content), sha256=sha256, key=key)


def members(upload_id: str, count: int = 3) -> list[str]:
    """The keys of files that were unpacked from an upload's archive."""
    return [member_key(PROJECT, upload_id, 0, 1, number) for number in range(count)]


async def given_upload(blobs: Blobs, *, files: int = 3, parts: int = 2, upload_id: str | None = None) -> str:
    """An upload whose parts and files are in storage. Returns its id."""
    upload_id = upload_id or new_id()
    keys = [part_key(PROJECT, upload_id, 0, number, "attempt") for number in range(parts)] + members(upload_id, files)
    await call_each(lambda key: blobs.put_bytes(key, b"x"), keys)
    return upload_id


def registered(upload_id: str, keys: list[str], *, model_id: str | None = None) -> ModelRegistered:
    """A model with `keys` was registered."""
    return ModelRegistered(
        model_id=model_id or new_id(),
        upload_id=upload_id,
        project_id=PROJECT,
        files=[stored(key) for key in keys],
        at=NOON,
    )


def model_deleted(model_id: str, *, minute: int = 1, grace: timedelta = timedelta(days=7)) -> ModelDeleted:
    """A model was deleted so many minutes after noon."""
    at = NOON + timedelta(minutes=minute)
    return ModelDeleted(model_id=model_id, project_id=PROJECT, erase_at=at + grace, at=at)


def model_restored(model_id: str, *, minute: int = 2) -> ModelRestored:
    return ModelRestored(model_id=model_id, project_id=PROJECT, at=NOON + timedelta(minutes=minute))


def model_erased(model_id: str, *, minute: int = 3) -> ModelErased:
    return ModelErased(model_id=model_id, project_id=PROJECT, at=NOON + timedelta(minutes=minute))


def aborted(upload_id: str) -> UploadAborted:
    return UploadAborted(upload_id=upload_id, project_id=PROJECT, model_id=new_id(), at=NOON)


def ended(upload_id: str) -> list[Event]:
    """Each way for an upload to end without a model."""
    expired = UploadExpired(upload_id=upload_id, project_id=PROJECT, model_id=new_id(), at=NOON)
    failed = UploadFailed(upload_id=upload_id, project_id=PROJECT, model_id=new_id(), at=NOON, reason="no model")
    return [aborted(upload_id), expired, failed]


def dropped(*keys: str) -> ObjectDropped:
    """No model has `keys`."""
    return ObjectDropped(project_id=PROJECT, keys=list(keys), reason="model deleted", at=NOON)


async def state_of(pool: Pool, key: str) -> str | None:
    """The state of an object in the table."""
    state: str | None = await pool.fetchval("SELECT state FROM object WHERE key = $1", key)
    return state


async def keys_in(blobs: Blobs, prefix: str = "") -> set[str]:
    """What is in storage, beside the installation's mark."""
    return {info.key async for info in blobs.list(prefix)} - {MARK_KEY}


__all__ = [
    "NOON",
    "PROJECT",
    "aborted",
    "dropped",
    "ended",
    "file_key",
    "given_upload",
    "keys_in",
    "members",
    "model_deleted",
    "model_erased",
    "model_restored",
    "registered",
    "state_of",
    "stored",
]
