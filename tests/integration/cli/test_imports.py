"""`slipway import` and `slipway secrets`: the server copies a model, and nobody sees what opens its source."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from libs.client import AsyncClient, BadRequestError, ClientError, UploadFailedError
from tests.integration.cli.conftest import Command, Finished, Start
from tests.support.models import given_llama
from tests.support.sources import Source, source_at
from tests.support.stack import Stack


@pytest.fixture
async def source(stack: Stack) -> AsyncIterator[Source]:
    """A bucket of another owner, with a model in it."""
    bucket = f"source-{secrets.token_hex(4)}"
    async with source_at(stack.bucket_url(bucket)) as source:
        await source.put(given_llama())
        yield source
    stack.remove_bucket(bucket)


async def kept(start: Start, source: Source, name: str = "source") -> Finished:
    """`slipway secrets set`, its values on standard input."""
    process = await start("secrets", "set", name, "--json")
    fields = ("access_key_id", "secret_access_key")
    told = "".join(f"{field}={source.secret()[field]}\n" for field in fields)
    out, err = await process.communicate(told.encode())
    assert process.returncode == 0, err.decode()
    return Finished(0, out.decode(), err.decode())


async def test_import_copies_a_model_with_a_secret(
    start: Start, slipway: Command, api: AsyncClient, source: Source
) -> None:
    secret = await kept(start, source)
    wanted = ("import", source.source, "--name", "m", "--endpoint", source.endpoint)

    refused = await slipway(*wanted, "--json")
    ran = await slipway(*wanted, "--secret", "source", "--json")
    session = await slipway("uploads", "get", ran.json["session_id"])

    assert secret.json["name"] == "source"
    assert refused.code == 1
    assert ran.code == 0, ran.err
    assert (ran.json["status"], ran.json["model"]["architecture"]) == ("ready", "LlamaForCausalLM")
    assert {file.path async for file in api.models.files("m")} == given_llama().keys()
    assert "import" in session.out


async def test_a_program_begins_an_import_and_waits(start: Start, api: AsyncClient, source: Source) -> None:
    await kept(start, source)
    seen: list[tuple[int, int]] = []

    begun = await api.imports.create(source.source, name="m", endpoint=source.endpoint, secret="source")
    model = await api.imports.wait(begun.session_id, progress=lambda *amounts: seen.append(amounts))

    assert (model.id, model.status, begun.file_count) == (begun.model_id, "ready", len(given_llama()))
    assert seen[-1] == (begun.total_size, begun.total_size)
    with pytest.raises(BadRequestError):
        await api.imports.create("ftp://nowhere/m", name="m")


async def test_an_import_that_is_aborted_is_raised(start: Start, api: AsyncClient, source: Source) -> None:
    opened = await api.uploads.open_archive("m", 10, "tar")
    await api.uploads.abort(opened.session_id)

    with pytest.raises(UploadFailedError, match="aborted") as raised:
        await api.imports.wait(opened.session_id)

    assert isinstance(raised.value, ClientError)
    assert raised.value.session.status == "aborted"


async def test_secrets_are_listed_and_deleted_and_never_shown(start: Start, slipway: Command, source: Source) -> None:
    await kept(start, source)

    shown, listed = await slipway("secrets", "list"), await slipway("secrets", "list", "--json")
    deleted = await slipway("secrets", "delete", "source")
    empty = await slipway("secrets", "list", "--json")

    assert "source" in shown.out
    assert [each["name"] for each in listed.json["secrets"]] == ["source"]
    assert source.credentials.secret_access_key not in shown.out + listed.out
    assert (deleted.code, empty.json["secrets"]) == (0, [])


@pytest.mark.parametrize(
    ("told", "words"),
    [("", "No value was given"), ("secret_access_key\n", "Line 1"), ("\npassword=hidden\n", "Line 2")],
)
async def test_what_is_no_secret_is_refused_without_showing_it(start: Start, told: str, words: str) -> None:
    process = await start("secrets", "set", "source")
    _, err = await process.communicate(told.encode())

    assert process.returncode == 2
    assert words in err.decode()
    assert "hidden" not in err.decode()


async def test_secrets_come_from_the_environment_if_told(
    slipway: Command, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", source.credentials.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", source.credentials.secret_access_key)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)

    ran = await slipway("secrets", "set", "source", "--from-env", "--json")

    assert (ran.code, ran.json["type"]) == (0, "s3")
