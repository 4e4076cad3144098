"""The validator as a process: from an event on the bus to an event on the bus."""

from __future__ import annotations

import asyncio
import json
import signal
import struct
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from libs.blobs import Blobs
from libs.bus import Bus
from libs.contracts import (
    ModelRejected,
    ModelValidated,
    ModelValidationRequested,
    StoredFile,
    decode_event,
    encode_event,
    event_type,
)
from tests.integration.validator.harness import NOON, Validator
from tests.support.bus import stored
from tests.support.eventually import eventually
from tests.support.fixtures import StartService
from tests.support.models import given_llama
from tests.support.processes import peak_bytes
from tests.support.stack import Stack

MIB = 1024 * 1024
Verdict = ModelValidated | ModelRejected
Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
def start(start_service: StartService) -> Start:
    """Start the validator."""
    return partial(start_service, "validator")


async def publish(bus: Bus, request: ModelValidationRequested) -> None:
    await bus.session()
    await bus.publish(event_type(request), encode_event(request), {}, request.id)


async def verdict(bus: Bus, request: ModelValidationRequested) -> Verdict:
    """What the validator says of the request, as soon as it does."""
    told: list[Verdict] = []

    async def seen() -> bool:
        for message in await stored(bus):
            event = decode_event(message.subject, message.data)
            if isinstance(event, ModelValidated | ModelRejected) and event.validation_id == request.validation_id:
                told.append(event)
        return bool(told)

    await eventually(seen, timeout_s=60)
    return told[0]


async def test_a_request_on_the_bus_is_answered_on_the_bus(start: Start, bus: Bus, validator: Validator) -> None:
    process = await start()
    good, bad = await validator.model(given_llama()), await validator.model({"config.json": b"{}"})
    await publish(bus, good)
    await publish(bus, bad)

    assert isinstance(await verdict(bus, good), ModelValidated)
    assert isinstance(await verdict(bus, bad), ModelRejected)

    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


async def test_killed_while_it_reads_it_is_replaced(start: Start, bus: Bus, stack: Stack, validator: Validator) -> None:
    request = await validator.model(given_llama(shards=8, layers=8))
    first = await start(lease_s=1)
    with stack.paused("s3"):
        await publish(bus, request)
        claimed = "SELECT true FROM validation WHERE leased_by IS NOT NULL"
        await eventually(lambda: validator.pool.fetchval(claimed), timeout_s=60)
        first.kill()
        await first.wait()

    await start(lease_s=1)

    assert isinstance(await verdict(bus, request), ModelValidated)


@pytest.mark.slow
async def test_memory_is_bounded_whatever_the_headers_claim(start: Start, bus: Bus, blobs: Blobs) -> None:
    """Two files whose headers of 40 MB have 600,000 tensors each: one is kept, and one at a time is looked at."""
    count = 600_000
    entries = (f'"t{at}":{{"dtype":"U8","shape":[1],"data_offsets":[{at},{at + 1}]}}' for at in range(count))
    header = ("{" + ",".join(entries) + "}").encode()
    weights = struct.pack("<Q", len(header)) + header + bytes(count)
    config = json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}).encode()
    await blobs.put_bytes("weights", weights)
    await blobs.put_bytes("config", config)
    paths = {"config.json": ("config", len(config))}
    paths |= {f"model-{number}-of-2.safetensors": ("weights", len(weights)) for number in (1, 2)}
    files = [StoredFile(path=path, size_bytes=size, sha256="0" * 64, key=key) for path, (key, size) in paths.items()]
    process = await start()

    request = ModelValidationRequested(at=NOON, model_id="m", project_id="p", validation_id="v", files=files)
    await publish(bus, request)

    findings = (await verdict(bus, request)).report.findings
    assert [finding.rule for finding in findings].count("model-too-many-tensors") == 1
    assert peak_bytes(process.pid) < 800 * MIB
