"""A request in, one stored verdict out, however often it is asked."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from libs.blobs import Blobs
from libs.contracts import ModelRejected, ModelValidated, ModelValidationRequested, new_id
from libs.db import Pool, transaction
from libs.errors import ObjectNotFound
from libs.outbox import apply_once
from services.validator import store
from services.validator.handlers import Tools, reach_verdict, tell_verdict
from services.validator.reading import ModelReader
from tests.integration.validator.conftest import GivenStored
from tests.support.fixtures import PoolFor
from tests.support.models import given_llama
from tests.support.outbox import emitted


class CountingStorage:
    """Storage that remembers what was read of it."""

    def __init__(self, blobs: Blobs) -> None:
        self.bytes_read = 0
        self._blobs = blobs

    async def read(self, key: str, start: int, length: int) -> bytes:
        content = await self._blobs.read(key, start, length)
        self.bytes_read += len(content)
        return content


@pytest.fixture
async def pool(pool_for: PoolFor) -> Pool:
    return await pool_for("validator")


@pytest.fixture
def storage(blobs: Blobs) -> CountingStorage:
    return CountingStorage(blobs)


@pytest.fixture
def tools(pool: Pool, storage: CountingStorage) -> Tools:
    return Tools(pool, ModelReader(storage, requests=4))


async def handle(tools: Tools, event: ModelValidationRequested) -> None:
    """What the consumer does with one delivery."""
    verdict = await reach_verdict(event, tools)

    async def told(event, tx):
        return await tell_verdict(event, tx, verdict)

    await apply_once(tools.pool, "validator", told, event)


async def test_a_model_in_order_is_validated(tools: Tools, given_stored: GivenStored) -> None:
    request = await given_stored(given_llama(shards=2))

    await handle(tools, request)

    [validated] = await emitted(tools.pool)
    assert isinstance(validated, ModelValidated)
    assert validated.validation_id == request.validation_id
    assert validated.report.metadata.architecture == "LlamaForCausalLM"
    assert validated.report.findings == []


async def test_a_model_without_a_shard_is_rejected_by_its_name(tools: Tools, given_stored: GivenStored) -> None:
    files = given_llama(shards=2)
    del files["model-00002-of-00002.safetensors"]
    request = await given_stored(files)

    await handle(tools, request)

    [rejected] = await emitted(tools.pool)
    assert isinstance(rejected, ModelRejected)
    [finding] = [finding for finding in rejected.report.findings if finding.severity == "error"]
    assert "model-00002-of-00002.safetensors is missing" in finding.message


async def test_what_no_table_and_no_event_can_carry_is_told_all_the_same(
    tools: Tools, given_stored: GivenStored
) -> None:
    """NUL, half a surrogate pair and a number beyond 64 bits, as any file may hold them."""
    files = given_llama()
    config = json.loads(files["config.json"])
    config |= {"architectures": ["Llama\0For\ud800"], "max_position_embeddings": 2**63}
    request = await given_stored(files | {"config.json": json.dumps(config).encode()})

    await handle(tools, request)

    [rejected] = await emitted(tools.pool)
    assert isinstance(rejected, ModelRejected)
    assert rejected.report.findings[0].rule == "architecture-unknown"
    assert rejected.report.metadata.context_length is None


async def test_a_redelivered_request_is_answered_once(tools: Tools, given_stored: GivenStored) -> None:
    request = await given_stored(given_llama())

    await handle(tools, request)
    await handle(tools, request)

    assert len(await emitted(tools.pool)) == 1


async def test_a_repeated_request_gets_the_stored_verdict_and_reads_nothing(
    tools: Tools, storage: CountingStorage, blobs: Blobs, given_stored: GivenStored
) -> None:
    request = await given_stored(given_llama())
    await handle(tools, request)
    await blobs.delete([file.key for file in request.files])
    storage.bytes_read = 0

    await handle(tools, msgspec.structs.replace(request, id=new_id()))

    first, second = await emitted(tools.pool)
    assert isinstance(first, ModelValidated)
    assert isinstance(second, ModelValidated)
    assert (first.report, first.at) == (second.report, second.at)
    assert storage.bytes_read == 0


async def test_of_two_racing_validations_the_first_verdict_stays(tools: Tools, given_stored: GivenStored) -> None:
    request = await given_stored(given_llama())
    again = msgspec.structs.replace(request, id=new_id())

    await asyncio.gather(handle(tools, request), handle(tools, again))

    first, second = await emitted(tools.pool)
    assert isinstance(first, ModelValidated)
    assert isinstance(second, ModelValidated)
    assert first.at == second.at


async def test_a_new_validation_of_the_same_model_reads_again(
    tools: Tools, storage: CountingStorage, given_stored: GivenStored
) -> None:
    request = await given_stored(given_llama())
    await handle(tools, request)
    read_at_first = storage.bytes_read

    await handle(tools, msgspec.structs.replace(request, id=new_id(), validation_id=new_id()))

    assert storage.bytes_read == 2 * read_at_first


async def test_a_file_that_storage_lacks_is_not_the_models_fault(
    tools: Tools, blobs: Blobs, given_stored: GivenStored
) -> None:
    """NotFound: the bus tries again, since the object may be on its way."""
    request = await given_stored(given_llama())
    await blobs.delete([request.files[-1].key])

    with pytest.raises(ObjectNotFound):
        await reach_verdict(request, tools)

    assert await emitted(tools.pool) == []


async def test_old_verdicts_are_forgotten(tools: Tools, given_stored: GivenStored) -> None:
    request = await given_stored(given_llama())
    await handle(tools, request)

    async with transaction(tools.pool) as tx:
        assert await store.forget(tx, 3600) == 0
        assert await store.forget(tx, 0) == 1
        assert await store.find(tx, request.validation_id) is None
