"""A directory goes as resumable streams: through broken connections, and without hashing what need not be hashed."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from aiohttp import web
from rich.filesize import decimal

from libs.client import AsyncClient
from services.gateway.uploads.part_sizes import of_stream
from tests.integration.cli.conftest import Command, Start, digests, finished, registered
from tests.integration.cli.proxy import Answer, Document, GatewayProxy, refusal
from tests.support.deployment import Deployment
from tests.support.models import given_llama, written

LARGE, OTHER = "large.txt", "other.txt"
LARGE_BYTES, OTHER_BYTES = 9_000_000, 5_000_000
PART_BYTES = of_stream(LARGE_BYTES)  # what the gateway keeps of a connection that breaks is a multiple of it
IN_PARTS_BYTES = PART_BYTES * 5 // 2
LONG_AGO = 1_700_000_000


@pytest.fixture
def large_files(tmp_path: Path) -> Path:
    """A model with two large files beside it, all written long ago."""
    root = written(given_llama(), tmp_path / "large")
    for seed, (name, size) in enumerate(((LARGE, LARGE_BYTES), (OTHER, OTHER_BYTES))):
        (root / name).write_bytes(random.Random(seed).randbytes(size))
    for path in root.iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))
    return root


@pytest.fixture
def in_parts(large_files: Path) -> Path:
    """The same, with a large file of two and a half parts."""
    (large_files / LARGE).write_bytes(random.Random(0).randbytes(IN_PARTS_BYTES))
    return large_files


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def hashed(ran_err: str) -> list[str]:
    """The lines that say what was hashed before it was sent, of files worth a mention."""
    return [line for line in ran_err.splitlines() if line.startswith(("hashing", "verifying")) and " MB of " in line]


async def test_files_arrive_whole_and_unhashed(slipway: Command, api: AsyncClient, large_files: Path) -> None:
    ran = await slipway("upload", large_files, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    assert await registered(api, ran) == digests(large_files)
    assert hashed(ran.err) == []
    assert ran.json["sent_bytes"] == size_of(large_files)


async def test_broken_connections_cost_a_question_each(
    slipway: Command, api: AsyncClient, proxy: GatewayProxy, in_parts: Path
) -> None:
    """Three connections break; each is followed by a question, and by what the gateway lacks: a part at most."""
    proxy.cut_after = [PART_BYTES * 3 // 2, PART_BYTES // 4, PART_BYTES * 5 // 4]

    ran = await slipway("upload", in_parts, "--name", "m", "--parallel", "1", "--json")

    assert ran.code == 0, ran.err
    assert await registered(api, ran) == digests(in_parts)
    assert "Going on with" in ran.err
    assert len(proxy.sent(f"PUT .*{LARGE}")) == 1 + 3 * 2
    assert [int(span.split()[1].partition("-")[0]) for span in proxy.ranges if span.endswith(f"/{IN_PARTS_BYTES}")] == [
        0,
        PART_BYTES,
        PART_BYTES,
        2 * PART_BYTES,
    ]
    assert ran.json["sent_bytes"] == size_of(in_parts)


async def test_a_lost_answer_is_asked_for(slipway: Command, proxy: GatewayProxy, large_files: Path) -> None:
    proxy.lose_answer(f"PUT .*{LARGE}")

    ran = await slipway("upload", large_files, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    assert len(proxy.sent(f"PUT .*{LARGE}")) == 2


async def interrupted(start: Start, proxy: GatewayProxy, folder: Path) -> str:
    """Upload `folder` until the connection breaks within LARGE, then press Ctrl-C. Returns: what was said."""
    proxy.cut_after = [PART_BYTES * 3 // 2]
    proxy.fail(f"PUT .*{LARGE}", refusal(503, "unavailable", "Later."), times=99, after=1)
    process = await start("upload", folder, "--name", "m", "--parallel", "1")
    await proxy.until(lambda: len(proxy.sent(f"PUT .*{LARGE}")) >= 2)
    process.send_signal(signal.SIGINT)
    ended = await finished(process)
    proxy.recover()
    return ended.err


async def test_an_interrupted_directory_is_resumed_where_the_gateway_is(
    start: Start, slipway: Command, api: AsyncClient, proxy: GatewayProxy, in_parts: Path
) -> None:
    said = await interrupted(start, proxy, in_parts)
    [session] = await api.uploads.list().all()
    held = await api.uploads.ask_range(session.session_id, LARGE, IN_PARTS_BYTES)

    ran = await slipway("upload", in_parts, "--name", "m", "--json")

    assert "same command again" in said
    assert ran.code == 0, ran.err
    assert ran.json["resumed"] is True
    assert await registered(api, ran) == digests(in_parts)
    assert held.held_bytes == PART_BYTES
    assert ran.json["sent_bytes"] == size_of(in_parts) - PART_BYTES


async def test_a_file_that_changed_between_two_runs_starts_again(
    start: Start, slipway: Command, api: AsyncClient, proxy: GatewayProxy, in_parts: Path
) -> None:
    """What the gateway holds of it is of other bytes, which the digest of the whole shows."""
    await interrupted(start, proxy, in_parts)
    (in_parts / LARGE).write_bytes(random.Random(9).randbytes(IN_PARTS_BYTES))

    ran = await slipway("upload", in_parts, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    assert await registered(api, ran) == digests(in_parts)


async def test_the_second_upload_hashes_and_sends_nothing(
    slipway: Command, proxy: GatewayProxy, large_files: Path
) -> None:
    """The digests that the gateway answered are kept."""
    await slipway("upload", large_files, "--name", "m")

    ran = await slipway("upload", large_files, "--name", "m", "--json")

    assert (ran.code, ran.json["sent_bytes"]) == (0, 0)
    assert hashed(ran.err) == []
    assert len(proxy.sent("POST .*directory")) == 2


async def test_one_changed_file_is_sent_without_being_hashed(
    slipway: Command, api: AsyncClient, proxy: GatewayProxy, large_files: Path
) -> None:
    await slipway("upload", large_files, "--name", "m")
    (large_files / OTHER).write_bytes(random.Random(9).randbytes(OTHER_BYTES))

    ran = await slipway("upload", large_files, "--name", "m", "--json")

    assert (ran.code, ran.json["sent_bytes"]) == (0, OTHER_BYTES)
    assert hashed(ran.err) == []
    assert len(proxy.sent("POST .*directory")) == 2
    assert await registered(api, ran) == digests(large_files)


async def test_from_another_place_only_what_may_be_known_is_hashed(
    slipway: Command, api: AsyncClient, large_files: Path, tmp_path: Path
) -> None:
    """A copy, of which this machine knows nothing: files of known sizes are hashed, and turn out to be there."""
    await slipway("upload", large_files, "--name", "m")
    copy = Path(shutil.copytree(large_files, tmp_path / "copy"))
    (copy / OTHER).write_bytes(random.Random(9).randbytes(OTHER_BYTES - 1))
    known = (copy / LARGE).stat().st_size + (copy / "model.safetensors").stat().st_size

    ran = await slipway("upload", copy, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    assert ran.json["sent_bytes"] == OTHER_BYTES - 1
    assert [f"{decimal(known)} of {decimal(known)}" in line for line in hashed(ran.err)] == [True]
    assert [session.status for session in await api.uploads.list().all()] == ["completed", "aborted", "completed"]


async def test_a_file_just_written_is_not_remembered(slipway: Command, large_files: Path) -> None:
    """It might change again within the same tick of the clock."""
    just_now = time.time() + 60  # however long the command takes to start on a busy machine
    os.utime(large_files / LARGE, (just_now, just_now))
    await slipway("upload", large_files, "--name", "m")

    ran = await slipway("upload", large_files, "--name", "m", "--json")

    assert ["9.0 MB of 9.0 MB" in line for line in hashed(ran.err)] == [True]
    assert ran.json["sent_bytes"] == 0


@pytest.mark.parametrize("claim", [{"crc32": "00000000"}, {"crc32": None, "checksum": "0" * 64}])
async def test_a_server_that_stored_other_bytes_is_found_out(
    slipway: Command, proxy: GatewayProxy, large_files: Path, claim: Document
) -> None:
    proxy.change(f"PUT .*{LARGE}", lambda stored: stored | claim)

    ran = await slipway("upload", large_files, "--name", "m")

    assert ran.code == 1
    assert "stored other bytes" in ran.err


@pytest.mark.parametrize(
    "answer",
    [
        refusal(405, "method_not_allowed", "No PUT here."),
        lambda _: web.Response(status=404, text="nginx"),
        refusal(400, "invalid_request", "What is Content-Range?"),
    ],
)
async def test_an_older_server_is_told_apart(
    slipway: Command, proxy: GatewayProxy, large_files: Path, answer: Answer
) -> None:
    proxy.fail(f"PUT .*{LARGE}", answer, times=9)

    ran = await slipway("upload", large_files, "--name", "m")

    assert ran.code == 1
    assert "takes no files as resumable streams" in ran.err
    assert "upgrade it" in ran.err


async def test_an_older_server_that_takes_the_file_all_the_same_is_checked_by_its_digest(
    slipway: Command, api: AsyncClient, proxy: GatewayProxy, large_files: Path
) -> None:
    proxy.set_headers("PUT", Content_Range=None)
    proxy.change("PUT", lambda stored: {name: value for name, value in stored.items() if name != "crc32"})

    ran = await slipway("upload", large_files, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    assert await registered(api, ran) == digests(large_files)


async def test_what_the_server_waits_for_is_printed(
    slipway: Command, start: Start, api: AsyncClient, deployment: Deployment, proxy: GatewayProxy, archive: Path
) -> None:
    """It keeps everything, and goes on by itself."""
    park = "UPDATE upload_stream SET waiting_for = $2, parked_at = now() WHERE upload_id = $1"
    with deployment.frozen("extractor"):
        process = await start("upload", archive, "--name", "m")
        await proxy.until(lambda: bool(proxy.sent("complete")))
        [session] = await api.uploads.list().all()
        await asyncio.to_thread(deployment.sql, "gateway", park, session.session_id, "Object storage is full.")
        looked = len(proxy.sent(f"GET .*uploads/{session.session_id}"))
        await proxy.until(lambda: len(proxy.sent(f"GET .*uploads/{session.session_id}")) >= looked + 2)
        shown = await slipway("uploads", "get", session.session_id)
    ran = await finished(process)

    assert ran.code == 0, ran.err
    assert ran.err.count("goes on by itself: Object storage is full.") == 1
    assert "Object storage is full." in shown.out
