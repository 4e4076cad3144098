"""A model that is in another bucket becomes a model here, whatever happens to the extractor meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.e2e.client import Client, answered
from tests.support.deployment import Deployment
from tests.support.eventually import eventually_sync
from tests.support.models import given_big_llama
from tests.support.sources import Source, source_at
from tests.support.stack import Stack

BUCKET = "e2e-source"
MODEL = given_big_llama(60_000_000, shards=3)


@pytest.fixture
def source(stack: Stack) -> Iterator[Source]:
    """Another bucket of the embedded server, with a model in it."""

    async def fill() -> Source:
        async with source_at(stack.bucket_url(BUCKET)) as source:
            await source.put(MODEL)
            return source

    yield asyncio.run(fill())
    stack.remove_bucket(BUCKET)


def test_extractor_killed_in_the_middle_of_an_import(client: Client, deployment: Deployment, source: Source) -> None:
    answered(client.post("secrets", json=source.secret()), 201)
    begun = answered(client.post("uploads/import", json=source.wanted("imported")), 202)
    assert begun["file_count"] == len(MODEL)

    def under_way() -> None:
        assert client.look(begun)["extraction"]["bytes"] > 0

    eventually_sync(under_way)
    deployment.kill("extractor")
    model = client.settled(begun["model_id"], within_s=90)
    assert model["status"] == "ready"
    session = client.look(begun)
    assert (session["status"], session["progress"]) == ("completed", 100.0)
    listed = answered(client.get(f"models/{begun['model_id']}/files"))
    assert len(listed["data"]) == len(MODEL)
