"""A directory goes as resumable streams: through broken connections, and without hashing what need not be hashed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
import signal
from pathlib import Path

import pytest
from aiohttp import web

from tests.integration.cli.conftest import Slipway, Start, finished
from tests.integration.cli.server import FakeSlipway, refusal

LARGE = "model-00001-of-00002.safetensors"
OTHER = "model-00002-of-00002.safetensors"
LARGE_BYTES, OTHER_BYTES = 9_000_000, 5_000_000
PART = 1_000_000


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A directory with two large files, written long ago."""
    root = tmp_path / "shards"
    root.mkdir()
    (root / "config.json").write_text('{"model_type": "bert"}')
    for seed, (name, size) in enumerate(((LARGE, LARGE_BYTES), (OTHER, OTHER_BYTES))):
        (root / name).write_bytes(random.Random(seed).randbytes(size))
        os.utime(root / name, (1_700_000_000, 1_700_000_000))
    return root


def hashes(ran_err: str) -> list[str]:
    """The lines that say what was hashed before it was sent, of files worth a mention."""
    return [
        line for line in ran_err.splitlines() if line.startswith(("hashing", "verifying")) and "22 bytes" not in line
    ]


async def test_files_arrive_whole_and_unhashed(slipway: Slipway, server: FakeSlipway, shards: Path) -> None:
    ran = await slipway("upload", shards, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    [upload] = server.uploads.values()
    for path in (LARGE, OTHER, "config.json"):
        assert server.content(upload, path) == (shards / path).read_bytes()
    assert hashes(ran.err) == []
    assert ran.json["sent_bytes"] == LARGE_BYTES + OTHER_BYTES + 22


async def test_a_broken_connection_costs_the_last_part_at_most(
    slipway: Slipway, server: FakeSlipway, shards: Path
) -> None:
    """Three connections break; each is followed by a question, and by what the server lacks."""
    server.break_after = [3_500_000, 2_200_000, 1_500_000]
    server.held_part_bytes = PART

    ran = await slipway("upload", shards, "--name", "m", "--parallel", "1", "--json")

    assert ran.code == 0, ran.err
    [upload] = server.uploads.values()
    assert server.content(upload, LARGE) == (shards / LARGE).read_bytes()
    assert "Going on with" in ran.err
    assert len(server.sent(f"PUT .*{LARGE}")) == 1 + 3 * 2
    assert ran.json["sent_bytes"] == LARGE_BYTES + OTHER_BYTES + 22


async def test_a_lost_answer_is_asked_for(slipway: Slipway, server: FakeSlipway, shards: Path) -> None:
    server.lose_answer(LARGE)

    ran = await slipway("upload", shards, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    assert len(server.sent(f"PUT .*{LARGE}")) == 2


async def test_an_interrupted_directory_is_resumed_where_the_server_is(
    start: Start, slipway: Slipway, server: FakeSlipway, shards: Path
) -> None:
    server.break_after = [4_000_000]
    server.held_part_bytes = PART
    server.fail(LARGE, lambda _: refusal(503, "unavailable", "Later."), times=99, after=1)
    process = await start("upload", shards, "--name", "m", "--parallel", "1")
    await asyncio.wait_for(server.part_arrived.wait(), 30)
    await server.until(lambda: len(server.sent(LARGE)) >= 2)
    process.send_signal(signal.SIGINT)
    interrupted = await finished(process)
    server._faults.clear()

    ran = await slipway("upload", shards, "--name", "m", "--json")

    assert "same command again" in interrupted.err
    assert ran.code == 0, ran.err
    assert ran.json["resumed"] is True
    [upload] = server.uploads.values()
    assert server.content(upload, LARGE) == (shards / LARGE).read_bytes()
    assert ran.json["sent_bytes"] == LARGE_BYTES - 4_000_000 + OTHER_BYTES + 22


async def test_a_file_that_changed_between_two_runs_starts_again(
    start: Start, slipway: Slipway, server: FakeSlipway, shards: Path
) -> None:
    """What the server holds of it is of other bytes, which the digest of the whole shows."""
    server.break_after = [4_000_000]
    server.fail(LARGE, lambda _: refusal(503, "unavailable", "Later."), times=99, after=1)
    process = await start("upload", shards, "--name", "m", "--parallel", "1")
    await server.until(lambda: len(server.sent(LARGE)) >= 2)
    process.send_signal(signal.SIGINT)
    await finished(process)
    server._faults.clear()
    (shards / LARGE).write_bytes(random.Random(9).randbytes(LARGE_BYTES))

    ran = await slipway("upload", shards, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    [upload] = server.uploads.values()
    assert server.content(upload, LARGE) == (shards / LARGE).read_bytes()


async def test_the_second_upload_hashes_and_sends_nothing(slipway: Slipway, server: FakeSlipway, shards: Path) -> None:
    """The digests that the server answered are kept."""
    await slipway("upload", shards, "--name", "m")
    server.has = digests(server)
    server.sizes = {LARGE_BYTES, OTHER_BYTES}

    ran = await slipway("upload", shards, "--name", "m", "--json")

    assert (ran.code, ran.json["sent_bytes"]) == (0, 0)
    assert hashes(ran.err) == []
    assert len(server.sent("POST .*directory")) == 2


async def test_one_changed_shard_is_sent_without_being_hashed(
    slipway: Slipway, server: FakeSlipway, shards: Path
) -> None:
    await slipway("upload", shards, "--name", "m")
    server.has = digests(server)
    server.sizes = {LARGE_BYTES, OTHER_BYTES}
    (shards / OTHER).write_bytes(random.Random(9).randbytes(OTHER_BYTES))

    ran = await slipway("upload", shards, "--name", "m", "--json")

    assert (ran.code, ran.json["sent_bytes"]) == (0, OTHER_BYTES)
    assert hashes(ran.err) == []
    assert len(server.sent("POST .*directory")) == 2


async def test_from_another_place_only_what_may_be_known_is_hashed(
    slipway: Slipway, server: FakeSlipway, shards: Path, tmp_path: Path
) -> None:
    """A copy, of which this machine knows nothing: the file of a known size is hashed, and turns out to be there."""
    await slipway("upload", shards, "--name", "m")
    server.has = digests(server)
    server.sizes = {LARGE_BYTES}
    copied = Path(shutil.copytree(shards, tmp_path / "copy"))

    ran = await slipway("upload", copied, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    assert ran.json["sent_bytes"] == OTHER_BYTES
    assert ["9.0 MB of 9.0 MB" in line for line in hashes(ran.err)] == [True]
    assert [upload.status for upload in server.uploads.values()] == ["completed", "aborted", "completed"]


async def test_a_file_just_written_is_not_remembered(slipway: Slipway, server: FakeSlipway, shards: Path) -> None:
    """It might change again within the same tick of the clock."""
    os.utime(shards / LARGE)
    await slipway("upload", shards, "--name", "m")
    server.has = digests(server)
    server.sizes = {LARGE_BYTES, OTHER_BYTES}

    ran = await slipway("upload", shards, "--name", "m", "--json")

    assert ["9.0 MB of 9.0 MB" in line for line in hashes(ran.err)] == [True]
    assert ran.json["sent_bytes"] == 0


@pytest.mark.parametrize("claim", [{"crc32": "00000000"}, {"crc32": None, "checksum": "0" * 64}])
async def test_a_server_that_stored_other_bytes_is_found_out(
    slipway: Slipway, server: FakeSlipway, shards: Path, claim: dict[str, object]
) -> None:
    server.claims = claim

    ran = await slipway("upload", shards, "--name", "m")

    assert ran.code == 1
    assert "stored other bytes" in ran.err


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: refusal(405, "method_not_allowed", "No PUT here."),
        lambda _: web.Response(status=404, text="nginx"),
        lambda _: refusal(400, "invalid_request", "What is Content-Range?"),
    ],
)
async def test_an_older_server_is_told_apart(
    slipway: Slipway, server: FakeSlipway, shards: Path, answer: object
) -> None:
    server.fail(LARGE, answer, times=9)

    ran = await slipway("upload", shards, "--name", "m")

    assert ran.code == 1
    assert "takes no files as resumable streams" in ran.err
    assert "upgrade it" in ran.err


async def test_an_older_server_that_takes_the_file_all_the_same_is_checked_by_its_digest(
    slipway: Slipway, server: FakeSlipway, shards: Path
) -> None:
    server.ranges = False

    ran = await slipway("upload", shards, "--name", "m")

    assert ran.code == 0, ran.err


async def test_what_the_server_waits_for_is_printed(
    slipway: Slipway, start: Start, server: FakeSlipway, shards: Path
) -> None:
    """It keeps everything, and goes on by itself."""
    server.processing_rounds = 10_000
    process = await start("upload", shards, "--name", "m")
    await server.until(lambda: bool(server.sent("complete")))
    server.uploads["u0"].waiting_for = "Object storage is full."
    looked = len(server.sent("GET .*uploads/u0"))
    await server.until(lambda: len(server.sent("GET .*uploads/u0")) >= looked + 2)
    shown = await slipway("uploads", "get", "u0")
    server.processing_rounds = 0
    ran = await finished(process)

    assert ran.code == 0, ran.err
    assert ran.err.count("goes on by itself: Object storage is full.") == 1
    assert "Object storage is full." in shown.out


def digests(server: FakeSlipway) -> set[str]:
    """Of everything that was stored."""

    return {
        hashlib.sha256(content).hexdigest() for upload in server.uploads.values() for content in upload.stored.values()
    }
