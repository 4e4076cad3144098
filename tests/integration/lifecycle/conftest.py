"""What the tests of lifecycle are given."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from libs.blobs import Blobs
from tests.integration.lifecycle.harness import Lifecycle, installed
from tests.support.stack import Stack


@pytest.fixture
async def lifecycle(stack: Stack, namespace: str, blobs: Blobs) -> AsyncIterator[Lifecycle]:
    """The only installation of a bucket."""
    async with installed(stack, blobs, namespace) as lifecycle:
        yield lifecycle


@pytest.fixture
async def other(stack: Stack, namespace: str, blobs: Blobs) -> AsyncIterator[Lifecycle]:
    """A second installation on the bucket of the first."""
    async with installed(stack, blobs, f"{namespace}other") as other:
        yield other


@pytest.fixture
async def tiered(stack: Stack, namespace: str, blobs: Blobs) -> AsyncIterator[Lifecycle]:
    """The only installation of two buckets, a hot and a cold one."""
    cold = f"{namespace}cold"
    async with (
        Blobs.open(stack.bucket_url(namespace), cold_url=stack.bucket_url(cold)) as both,
        installed(stack, both, namespace) as tiered,
    ):
        assert await both.tiers["cold"].ping()
        yield tiered
    stack.remove_bucket(cold)
