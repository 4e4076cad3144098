"""`slipway upload` against a server that speaks the documented API."""

from __future__ import annotations

import asyncio
import signal
import tarfile
from pathlib import Path

import pytest
from aiohttp import web

from tests.integration.cli.conftest import Slipway, Start, finished
from tests.integration.cli.server import FakeSlipway, hang_up, refusal

WEIGHTS = "weights 100%.safetensors"


@pytest.fixture
def archive(model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "model.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(model, arcname=".")
    return path


async def test_archive_arrives_whole(slipway: Slipway, server: FakeSlipway, archive: Path) -> None:
    """Parts sent in parallel are, in the order of their numbers, the file."""
    ran = await slipway("upload", archive, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    assert ran.json["status"] == "ready"
    assert ran.json["sent_bytes"] == archive.stat().st_size
    [upload] = server.uploads.values()
    assert server.content(upload) == archive.read_bytes()
    assert upload.wanted["archive_format"] == "tar"


async def test_directory_arrives_whole_without_junk(slipway: Slipway, server: FakeSlipway, model: Path) -> None:
    """Names keep their spaces and percent signs, and what is no part of a model stays."""
    ran = await slipway("upload", model, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    [upload] = server.uploads.values()
    assert set(upload.counts) == {"config.json", "1_Pooling/config.json", WEIGHTS}
    assert server.content(upload, WEIGHTS) == (model / WEIGHTS).read_bytes()


async def test_files_that_the_project_has_are_not_sent(slipway: Slipway, server: FakeSlipway, model: Path) -> None:
    ran = await slipway("upload", model, "--name", "m", "--json")
    [first] = server.uploads.values()
    server.has = {file["sha256"] for file in first.wanted["files"]}

    again = await slipway("upload", model, "--name", "m", "--json")

    assert (ran.json["sent_bytes"], again.json["sent_bytes"]) == (10_264, 0)
    assert again.json["kept_bytes"] == 10_264


async def test_interrupted_archive_is_resumed_by_the_same_command(
    start: Start, slipway: Slipway, server: FakeSlipway, archive: Path
) -> None:
    """Ctrl-C says how to go on; the second run sends only what the first did not."""
    command = ("upload", archive, "--name", "m")
    server.fail("part_number=2", lambda _: refusal(503, "unavailable", "Later.", {"Retry-After": "30"}), times=99)
    process = await start(*command, "--parallel", "1")
    await asyncio.wait_for(server.part_arrived.wait(), 30)
    process.send_signal(signal.SIGINT)
    interrupted = await finished(process)
    stored = server.sent("part_number=0")
    server._faults.clear()

    ran = await slipway(*command, "--json")

    assert interrupted.code == 130
    assert "same command again" in interrupted.err
    assert "Traceback" not in interrupted.err
    assert ran.code == 0, ran.err
    assert ran.json["resumed"] is True
    assert server.sent("part_number=0") == stored
    [upload] = server.uploads.values()
    assert server.content(upload) == archive.read_bytes()


async def test_session_with_other_bytes_is_left_alone(slipway: Slipway, server: FakeSlipway, archive: Path) -> None:
    """An archive of the same name and size is not continued with parts of another one."""
    server.fail("complete", lambda _: refusal(500, "internal_error", "Broken."))
    await slipway("upload", archive, "--name", "m")
    content = bytearray(archive.read_bytes())
    content[600] ^= 1
    archive.write_bytes(content)

    ran = await slipway("upload", archive, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    assert ran.json["resumed"] is False
    assert "slipway uploads abort u0" in ran.err
    assert server.content(server.uploads["u1"]) == bytes(content)


async def test_broken_connections_and_busy_servers_are_outlived(
    slipway: Slipway, server: FakeSlipway, archive: Path
) -> None:
    server.fail("part_number=1", hang_up)
    server.fail("part_number=3", lambda _: refusal(503, "unavailable", "Postgres is away.", {"Retry-After": "1"}))
    server.fail("complete", lambda _: refusal(429, "rate_limit_exceeded", "Slower.", {"Retry-After": "1"}))

    ran = await slipway("upload", archive, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    assert "Postgres is away." in ran.err
    [upload] = server.uploads.values()
    assert server.content(upload) == archive.read_bytes()


async def test_damaged_bytes_are_sent_again(slipway: Slipway, server: FakeSlipway, archive: Path) -> None:
    server.fail("part_number=1", lambda _: refusal(400, "checksum_mismatch", "Other bytes."))

    ran = await slipway("upload", archive, "--name", "m")

    assert ran.code == 0, ran.err


async def test_a_server_that_stored_other_bytes_is_found_out(
    slipway: Slipway, server: FakeSlipway, archive: Path
) -> None:
    wrong = {"part_number": 0, "size": 1000, "checksum": "0" * 64}
    server.fail("part_number=0", lambda _: web.json_response(wrong))

    ran = await slipway("upload", archive, "--name", "m")

    assert ran.code == 1
    assert "stored other bytes" in ran.err


async def test_findings_are_printed_and_the_exit_code_tells(slipway: Slipway, server: FakeSlipway, model: Path) -> None:
    server.findings = [
        {
            "rule": "safetensors-hole",
            "severity": "error",
            "message": "There is a hole between two tensors.",
            "fix": "Save the model again.",
            "file": "model.safetensors",
            "offset_bytes": 17,
        }
    ]

    ran = await slipway("upload", model, "--name", "m")

    assert ran.code == 1
    for words in ("error", "model.safetensors at byte 17", "There is a hole", "Save the model again."):
        assert words in ran.out


async def test_refused_archive_is_one_line_and_one_document(
    slipway: Slipway, server: FakeSlipway, archive: Path
) -> None:
    """A session that failed while parts arrive answers the next part with its reason."""
    finding = {"rule": "tar-symlink", "severity": "error", "message": "A symbolic link.", "fix": "Archive with -h."}
    server.fail(
        "part_number=2",
        lambda _: refusal(422, "archive_rejected", "A symbolic link. Archive with -h.", finding=finding),
    )

    ran = await slipway("upload", archive, "--name", "m", "--json")

    assert ran.code == 1
    assert ran.json["error"]["finding"]["rule"] == "tar-symlink"
    assert ran.err.splitlines()[-1] == "Error: A symbolic link. Archive with -h."


async def test_processing_is_waited_for(slipway: Slipway, server: FakeSlipway, model: Path) -> None:
    """202 means: ask again."""
    server.processing_rounds = 2

    ran = await slipway("upload", model, "--name", "m", "--json")

    assert ran.json["status"] == "ready"
    assert len(server.sent("complete")) == 3


async def test_no_wait_returns_at_once(slipway: Slipway, server: FakeSlipway, model: Path) -> None:
    server.processing_rounds = 9

    ran = await slipway("upload", model, "--name", "m", "--no-wait", "--json")

    assert (ran.code, ran.json["status"]) == (0, "processing")
    assert len(server.sent("complete")) == 1


async def test_file_deleted_meanwhile_is_sent_after_all(slipway: Slipway, server: FakeSlipway, model: Path) -> None:
    """The project had a file when the upload was opened, and no longer when it is completed."""
    await slipway("upload", model, "--name", "m")
    server.has = {file["sha256"] for file in server.uploads["u0"].wanted["files"]}

    def vanish(_: web.Request) -> web.Response:
        server.uploads["u1"].present.discard("config.json")
        return refusal(409, "parts_missing", "config.json is missing.")

    server.fail("complete", vanish)

    ran = await slipway("upload", model, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    assert set(server.uploads["u1"].counts) == {"config.json"}
