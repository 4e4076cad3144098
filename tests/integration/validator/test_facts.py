"""The same bytes of a project are inspected once."""

from __future__ import annotations

import json

from libs.contracts import ModelRejected, ModelValidated
from services.validator import facts
from tests.integration.validator.harness import Validator
from tests.support.models import given_llama, given_pytorch_llama
from tests.support.torchfiles import given_torch


async def test_another_version_reads_only_what_is_new_in_it(validator: Validator) -> None:
    files = given_llama(shards=4, layers=4)
    changed = given_llama(shards=4, layers=4, seed=1)["model-00002-of-00004.safetensors"]
    first = await validator.model(files)
    second = await validator.model(files | {"model-00002-of-00004.safetensors": changed})
    async with validator.working():
        await validator.ask(first)
        known = await validator.outcome(first)
        validator.storage.reads.clear()
        await validator.ask(second)
        outcome = await validator.outcome(second)

    [new] = {file.key for file in second.files if file.path == "model-00002-of-00004.safetensors"}
    assert set(validator.storage.reads) == {new}
    assert outcome.report.files_read == 1
    assert (outcome.report.findings, outcome.report.metadata) == (known.report.findings, known.report.metadata)


async def test_what_was_read_says_the_same_when_it_is_read_no_more(validator: Validator) -> None:
    """Headers, documents, pickles and what is broken: each verdict comes out as at first, of no byte."""
    dangerous = given_torch({"a": (2, 2)}).replace(b"torch._utils", b"os\nsystem\n#")
    models = [
        given_llama(shards=2),
        given_pytorch_llama(),
        given_llama() | {"extra.bin": dangerous, "notes.pt": b"\x80\x02cos\nsystem\n."},
        given_llama() | {"model.safetensors": b"version https://git-lfs.github.com/spec/v1\n"},
        given_llama() | {"model.safetensors": b"\xff" * 3000},
    ]
    async with validator.working():
        for files in models:
            first, again = await validator.model(files), await validator.model(files)
            await validator.ask(first)
            known = await validator.outcome(first)
            validator.storage.reads.clear()
            await validator.ask(again)
            outcome = await validator.outcome(again)

            assert validator.storage.reads == []
            assert (outcome.report.files_read, outcome.report.bytes_read) == (0, 0)
            assert type(outcome) is type(known)
            assert (outcome.report.findings, outcome.report.metadata) == (known.report.findings, known.report.metadata)


async def test_a_file_that_occurs_twice_is_read_once(validator: Validator) -> None:
    content = given_torch({"a": (2, 2)})
    request = await validator.model(given_llama() | {"one.bin": content, "folder/two.bin": content})
    async with validator.working():
        await validator.ask(request)
        await validator.outcome(request)

    twice = [file.key for file in request.files if file.path.endswith(".bin")]
    assert sum(validator.storage.reads.count(key) for key in twice) == 1


async def test_the_same_bytes_under_a_name_that_reads_them_otherwise_are_read_again(validator: Validator) -> None:
    """config.json is a document, notes.json is not; weights.bin is searched for pickles without a signature."""
    files = given_llama()
    config = files["config.json"]
    first = await validator.model(files | {"notes.json": config})
    second = await validator.model(files | {"generation_config.json": config, "weights.bin": config})
    async with validator.working():
        await validator.ask(first)
        await validator.outcome(first)
        validator.storage.reads.clear()
        await validator.ask(second)
        await validator.outcome(second)

    assert len(validator.storage.reads) == 2


async def test_other_projects_learn_nothing_from_what_was_read(validator: Validator) -> None:
    """Bytes read are in the report: they must not say what another project stores."""
    mine, theirs = await validator.model(given_llama()), await validator.model(given_llama(), project_id="q")
    async with validator.working():
        await validator.ask(mine)
        await validator.outcome(mine)
        await validator.ask(theirs)

        assert (await validator.outcome(theirs)).report.files_read == len(theirs.files)


async def test_what_is_too_large_to_keep_is_read_each_time(validator: Validator) -> None:
    """A document of 5 MiB, read as such; and a header with half a surrogate pair, which MessagePack cannot hold."""
    files = given_llama()
    large = json.dumps({"chat_template": "x" * (5 * 1024 * 1024)}).encode()
    files |= {"tokenizer_config.json": large}
    first, second = await validator.model(files), await validator.model(files)
    async with validator.working():
        await validator.ask(first)
        assert isinstance(await validator.outcome(first), ModelValidated | ModelRejected)
        await validator.ask(second)
        outcome = await validator.outcome(second)

    assert outcome.report.files_read == 1
    longest = await validator.pool.fetchval("SELECT max(octet_length(piece)) FROM inspected")
    assert longest <= facts.MAX_FACTS_BYTES
