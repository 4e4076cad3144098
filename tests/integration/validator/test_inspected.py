"""The same bytes of a project are inspected once."""

from __future__ import annotations

import json

from libs.contracts import ModelRejected, ModelValidated
from services.validator import facts
from tests.integration.validator.given import Given
from tests.support.models import given_llama, given_pytorch_llama
from tests.support.torchfiles import given_torch


async def test_another_version_reads_only_what_is_new_in_it(given: Given) -> None:
    files = given_llama(shards=4, layers=4)
    changed = given_llama(shards=4, layers=4, seed=1)["model-00002-of-00004.safetensors"]
    first = await given.model(files)
    second = await given.model(files | {"model-00002-of-00004.safetensors": changed})
    async with given.working():
        await given.ask(first)
        known = await given.outcome(first)
        given.storage.reads.clear()
        await given.ask(second)
        outcome = await given.outcome(second)

    [new] = {file.key for file in second.files if file.path == "model-00002-of-00004.safetensors"}
    assert set(given.storage.reads) == {new}
    assert outcome.report.files_read == 1
    assert (outcome.report.findings, outcome.report.metadata) == (known.report.findings, known.report.metadata)


async def test_what_was_read_says_the_same_when_it_is_read_no_more(given: Given) -> None:
    """Headers, documents, pickles and what is broken: each verdict comes out as at first, of no byte."""
    dangerous = given_torch({"a": (2, 2)}).replace(b"torch._utils", b"os\nsystem\n#")
    models = [
        given_llama(shards=2),
        given_pytorch_llama(),
        given_llama() | {"extra.bin": dangerous, "notes.pt": b"\x80\x02cos\nsystem\n."},
        given_llama() | {"model.safetensors": b"version https://git-lfs.github.com/spec/v1\n"},
        given_llama() | {"model.safetensors": b"\xff" * 3000},
    ]
    async with given.working():
        for files in models:
            first, again = await given.model(files), await given.model(files)
            await given.ask(first)
            known = await given.outcome(first)
            given.storage.reads.clear()
            await given.ask(again)
            outcome = await given.outcome(again)

            assert given.storage.reads == []
            assert (outcome.report.files_read, outcome.report.bytes_read) == (0, 0)
            assert type(outcome) is type(known)
            assert (outcome.report.findings, outcome.report.metadata) == (known.report.findings, known.report.metadata)


async def test_a_file_that_occurs_twice_is_read_once(given: Given) -> None:
    content = given_torch({"a": (2, 2)})
    request = await given.model(given_llama() | {"one.bin": content, "folder/two.bin": content})
    async with given.working():
        await given.ask(request)
        await given.outcome(request)

    twice = [file.key for file in request.files if file.path.endswith(".bin")]
    assert sum(given.storage.reads.count(key) for key in twice) == 1


async def test_the_same_bytes_under_a_name_that_reads_them_otherwise_are_read_again(given: Given) -> None:
    """config.json is a document, notes.json is not; weights.bin is searched for pickles without a signature."""
    files = given_llama()
    config = files["config.json"]
    first = await given.model(files | {"notes.json": config})
    second = await given.model(files | {"generation_config.json": config, "weights.bin": config})
    async with given.working():
        await given.ask(first)
        await given.outcome(first)
        given.storage.reads.clear()
        await given.ask(second)
        await given.outcome(second)

    assert len(given.storage.reads) == 2


async def test_other_projects_learn_nothing_from_what_was_read(given: Given) -> None:
    """Bytes read are in the report: they must not say what another project stores."""
    mine, theirs = await given.model(given_llama()), await given.model(given_llama(), project_id="q")
    async with given.working():
        await given.ask(mine)
        await given.outcome(mine)
        await given.ask(theirs)

        assert (await given.outcome(theirs)).report.files_read == len(theirs.files)


async def test_what_is_too_large_to_keep_is_read_each_time(given: Given) -> None:
    """A document of 5 MiB, read as such; and a header with half a surrogate pair, which MessagePack cannot hold."""
    files = given_llama()
    large = json.dumps({"chat_template": "x" * (5 * 1024 * 1024)}).encode()
    files |= {"tokenizer_config.json": large}
    first, second = await given.model(files), await given.model(files)
    async with given.working():
        await given.ask(first)
        assert isinstance(await given.outcome(first), ModelValidated | ModelRejected)
        await given.ask(second)
        outcome = await given.outcome(second)

    assert outcome.report.files_read == 1
    longest = await given.pool.fetchval("SELECT max(octet_length(piece)) FROM inspected")
    assert longest <= facts.MAX_FACTS_BYTES
