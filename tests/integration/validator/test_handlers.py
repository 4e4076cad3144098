"""A request in, one stored verdict out, however often it is asked."""

from __future__ import annotations

import json

import msgspec

from libs.contracts import ModelRejected, ModelValidated, new_id
from libs.db import transaction
from services.validator import store
from services.validator.app import forget_old
from services.validator.store import Verdict
from tests.integration.validator.harness import Validator
from tests.support.models import given_llama
from tests.support.outbox import emitted


async def test_a_model_in_order_is_validated(validator: Validator) -> None:
    request = await validator.model(given_llama(shards=2))
    async with validator.working():
        await validator.ask(request)
        validated = await validator.outcome(request)

    assert isinstance(validated, ModelValidated)
    assert validated.report.metadata.architecture == "LlamaForCausalLM"
    assert validated.report.findings == []
    assert validated.report.bytes_read == validator.storage.bytes_read
    assert not await validator.pool.fetchval("SELECT count(*) FROM validation")


async def test_a_model_without_a_shard_is_rejected_by_its_name(validator: Validator) -> None:
    files = given_llama(shards=2)
    del files["model-00002-of-00002.safetensors"]
    request = await validator.model(files)
    async with validator.working():
        await validator.ask(request)
        rejected = await validator.outcome(request)

    assert isinstance(rejected, ModelRejected)
    [finding] = [finding for finding in rejected.report.findings if finding.severity == "error"]
    assert "model-00002-of-00002.safetensors is missing" in finding.message


async def test_what_no_table_and_no_event_can_carry_is_told_all_the_same(validator: Validator) -> None:
    """NUL, half a surrogate pair and a number beyond 64 bits, as any file may hold them."""
    files = given_llama()
    config = json.loads(files["config.json"])
    config |= {"architectures": ["Llama\0For\ud800"], "max_position_embeddings": 2**63}
    request = await validator.model(files | {"config.json": json.dumps(config).encode()})
    async with validator.working():
        await validator.ask(request)
        rejected = await validator.outcome(request)

    assert isinstance(rejected, ModelRejected)
    assert rejected.report.findings[0].rule == "architecture-unknown"
    assert rejected.report.metadata.context_length is None


async def test_a_redelivered_request_is_answered_once(validator: Validator) -> None:
    request = await validator.model(given_llama())
    async with validator.working():
        await validator.ask(request, request)
        await validator.outcome(request)
        await validator.ask(request)

    assert len(await emitted(validator.pool)) == 1


async def test_a_repeated_request_gets_the_stored_verdict_and_reads_nothing(validator: Validator) -> None:
    request = await validator.model(given_llama())
    async with validator.working():
        await validator.ask(request)
        await validator.outcome(request)
        await validator.blobs.delete([file.key for file in request.files])
        validator.storage.reads.clear()
        await validator.ask_again(request)
        await validator.ask_again(request, resume=True)

    first, *others = await emitted(validator.pool)
    assert isinstance(first, ModelValidated)
    for other in others:
        assert isinstance(other, ModelValidated)
        assert (first.report, first.at) == (other.report, other.at)
    assert len(others) == 2
    assert validator.storage.reads == []


async def test_a_request_repeated_before_the_verdict_changes_nothing(validator: Validator) -> None:
    request = await validator.model(given_llama())
    await validator.ask(request)
    await validator.ask_again(request)
    await validator.ask_again(request, resume=True)
    async with validator.working():
        await validator.outcome(request)

    assert len(await emitted(validator.pool)) == 1
    assert (
        len(validator.storage.reads) == len(request.files) + 1
    )  # of the weights the length of the header, and the header


async def test_a_verdict_of_the_previous_release_stays(validator: Validator) -> None:
    """It judged in its handler, and may do so while this one has the row."""
    request = await validator.model(given_llama())
    await validator.ask(request)
    async with transaction(validator.pool) as tx:
        [claim] = await store.claim(tx, "this release", 1, 60)
    async with validator.working():
        other = msgspec.structs.replace(request, id=new_id(), validation_id=new_id())
        await validator.ask(other)
        theirs = await validator.outcome(other)
        await validator.pool.execute("UPDATE verdict SET validation_id = $1", request.validation_id)
    async with transaction(validator.pool) as tx:
        mine = Verdict(report=msgspec.structs.replace(theirs.report, files_read=99), decided_at=theirs.at)
        stands = await store.finish(tx, claim, mine)

    assert stands is not None
    assert stands.report == theirs.report


async def test_what_is_old_is_forgotten(validator: Validator) -> None:
    request, waiting = await validator.model(given_llama()), await validator.model(given_llama())
    async with validator.working():
        await validator.ask(request)
        await validator.outcome(request)
    await validator.ask(waiting)
    counts = (
        "SELECT (SELECT count(*) FROM verdict), (SELECT count(*) FROM inspected), (SELECT count(*) FROM validation)"
    )

    await forget_old(validator.pool, validator.config)
    assert tuple(await validator.pool.fetchrow(counts)) == (1, len(request.files), 1)

    await forget_old(
        validator.pool, msgspec.structs.replace(validator.config, forget_after_s=1e-6, forget_pieces_after_s=1e-6)
    )
    assert tuple(await validator.pool.fetchrow(counts)) == (0, 0, 0)
