"""Fixtures of the tests of imports."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from services.gateway.dependencies import Dependencies
from tests.integration.gateway.harness import FILES, Uploads
from tests.integration.gateway.serving import any_key, serving
from tests.support.sources import Source, source_at
from tests.support.stack import Stack


@pytest.fixture
async def source(stack: Stack, namespace: str) -> AsyncIterator[Source]:
    """Another bucket of the embedded server, with a model in it."""
    bucket = f"{namespace}-source"
    async with source_at(stack.bucket_url(bucket)) as source:
        await source.put(FILES)
        yield source
    stack.remove_bucket(bucket)


@pytest.fixture
async def gateway(uploads: Uploads, source: Source) -> AsyncIterator[Uploads]:
    """A gateway that may read the source's server."""
    shared = uploads.dependencies
    config = msgspec.structs.replace(shared.config, import_endpoints=source.endpoint)
    dependencies = Dependencies(shared.pool, shared.signals, shared.blobs, shared.bus, config)
    async with serving(dependencies, token="any", authenticate=any_key) as client:
        yield Uploads(client, dependencies)
