"""A model that is in another store becomes a model here, whatever happens to the extractor meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import server
from tests.e2e.client import Client, answered, refused
from tests.support.azurite import AzureSource, Azurite, azurite_binary
from tests.support.deployment import Deployment
from tests.support.eventually import eventually_sync
from tests.support.models import given_big_llama, given_llama
from tests.support.sources import Source, source_at
from tests.support.stack import Stack
from tests.support.stores import nanio

BUCKET = "e2e-source"
SERVICES = ("gateway", "extractor", "validator", "lifecycle")
MODEL = given_big_llama(60_000_000, shards=3)
SMALL = given_llama()


@pytest.fixture
def source(stack: Stack) -> Iterator[Source]:
    """Another bucket of the embedded server, with a model in it."""

    async def fill() -> Source:
        async with source_at(stack.bucket_url(BUCKET)) as source:
            await source.put(MODEL)
            return source

    yield asyncio.run(fill())
    stack.remove_bucket(BUCKET)


def same_files(client: Client, model_id: str, files: dict[str, bytes]) -> None:
    """The model consists of these files, byte for byte."""
    listed = answered(client.get(f"models/{model_id}/files"))["data"]
    assert {each["path"]: each["size_bytes"] for each in listed} == {path: len(c) for path, c in files.items()}
    for path, content in files.items():
        assert client.get(f"models/{model_id}/files/{path}").content == content


def test_extractor_killed_in_the_middle_of_an_import(client: Client, deployment: Deployment, source: Source) -> None:
    answered(client.post("secrets", json=source.secret()), 201)
    begun = answered(client.post("uploads/import", json=source.wanted("imported")), 202)

    def under_way() -> None:
        assert client.look(begun)["extraction"]["bytes"] > 0

    eventually_sync(under_way)
    deployment.kill("extractor")
    client.settled(begun["model_id"], within_s=90)
    session = client.look(begun)
    assert (session["status"], session["progress"]) == ("completed", 100.0)
    same_files(client, begun["model_id"], MODEL)
    assert_nothing_of_the_secret_is_left(deployment, source.credentials.secret_access_key)


def assert_nothing_of_the_secret_is_left(deployment: Deployment, value: str) -> None:
    """Neither in what the services have logged, nor in their events and tables."""
    deployment.quiet()
    for log in (deployment.folder / "logs").glob("*.log*"):
        assert value not in log.read_text(errors="replace"), log.name
    for service in SERVICES:
        for row in deployment.sql(service, "SELECT type, body::text AS body FROM outbox"):
            assert value not in row["body"], row["type"]
    for (stream,) in deployment.sql("extractor", "SELECT stream::text FROM extraction"):
        assert value not in stream


def test_a_model_that_is_there_already_takes_no_more_room(client: Client, source: Source) -> None:
    answered(client.post("secrets", json=source.secret()), 201)
    first = answered(client.post("uploads/import", json=source.wanted("twice")), 202)
    client.settled(first["model_id"], within_s=90)
    second = answered(client.post("uploads/import", json=source.wanted("twice")), 202)
    client.settled(second["model_id"], within_s=90)
    assert second["version"] != first["version"]


def test_an_import_that_is_aborted_leaves_nothing(client: Client, deployment: Deployment, source: Source) -> None:
    answered(client.post("secrets", json=source.secret()), 201)
    with deployment.frozen("extractor"):
        begun = answered(client.post("uploads/import", json=source.wanted("given up")), 202)
    answered(client.delete(f"uploads/{begun['session_id']}"))
    refused(client.get(f"models/{begun['model_id']}"), 404, "model_not_found")

    def nothing() -> None:
        assert deployment.stored(client.project_id) == {}

    eventually_sync(nothing)


def test_a_second_s3_server(client: Client, deployment: Deployment, stack: Stack, tmp_path: Path) -> None:
    store = nanio(tmp_path / "nanio", deployment.source_ports[0])
    process = stack.wait(server.start(store))

    async def fill() -> Source:
        async with source_at(f"{store.url}models") as source:
            await source.put(SMALL)
            return source

    try:
        source = asyncio.run(fill())
        answered(client.post("secrets", json=source.secret()), 201)
        begun = answered(client.post("uploads/import", json=source.wanted("from afar")), 202)
        client.settled(begun["model_id"])
        same_files(client, begun["model_id"], SMALL)
    finally:
        stack.wait(process.stop(within_s=5))


@pytest.mark.slow
def test_azure(client: Client, deployment: Deployment, stack: Stack, tmp_path: Path) -> None:
    emulator = Azurite(tmp_path / "azurite", deployment.source_ports[1], azurite_binary())
    process = stack.wait(server.start(emulator))
    source = AzureSource(f"http://127.0.0.1:{emulator.port}")

    async def fill() -> None:
        await source.make_container()
        await source.put(SMALL)

    try:
        asyncio.run(fill())
        answered(client.post("secrets", json=source.secret()), 201)
        begun = answered(client.post("uploads/import", json=source.wanted("from azure")), 202)
        client.settled(begun["model_id"])
        same_files(client, begun["model_id"], SMALL)
    finally:
        stack.wait(process.stop(within_s=5))
