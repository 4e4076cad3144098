"""A model in storage, and the request to validate it."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

import pytest

from libs.blobs import Blobs
from libs.contracts import ModelValidationRequested, StoredFile, new_id

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)

GivenStored = Callable[[Mapping[str, bytes]], Awaitable[ModelValidationRequested]]


@pytest.fixture
def given_stored(blobs: Blobs) -> GivenStored:
    """`await given_stored(files)`: the files are in storage; returns the request that the gateway would send."""

    async def given_stored(files: Mapping[str, bytes]) -> ModelValidationRequested:
        stored = []
        for number, (path, content) in enumerate(files.items()):
            key = f"p/objects/u/f{number}-{new_id()}"
            await blobs.put_bytes(key, content)
            digest = hashlib.sha256(content).hexdigest()
            stored.append(StoredFile(path=path, size_bytes=len(content), sha256=digest, key=key))
        return ModelValidationRequested(
            at=NOON, model_id="model-1", project_id="p", validation_id=new_id(), files=stored
        )

    return given_stored
