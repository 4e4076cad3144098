"""`slipway upload` against the gateway, by way of a proxy that fails."""

from __future__ import annotations

import asyncio
import signal
import tarfile
from pathlib import Path

from libs.client import AsyncClient
from tests.integration.cli.conftest import Command, Project, Start, digests, finished, packed, registered
from tests.integration.cli.proxy import GatewayProxy, hang_up, refusal
from tests.support.deployment import CHUNK_BYTES, Deployment
from tests.support.eventually import eventually
from tests.support.models import given_llama, written


async def test_archive_arrives_whole(slipway: Command, api: AsyncClient, archive: Path) -> None:
    """Parts sent in parallel are, in the order of their numbers, the file."""
    ran = await slipway("upload", archive, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    assert ran.json["status"] == "ready"
    assert ran.json["sent_bytes"] == archive.stat().st_size
    assert await registered(api, ran) == digests(archive.with_name("archived"))
    session = await api.uploads.get(ran.json["session_id"])
    assert session.archive_format == "tar"
    assert (session.total_chunks or 0) > 4


async def test_directory_arrives_whole_without_junk(slipway: Command, api: AsyncClient, model: Path) -> None:
    """Names keep their spaces and percent signs, and what is no part of a model stays."""
    ran = await slipway("upload", model, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    files = await registered(api, ran)
    assert files == digests(model)
    assert {"1_Pooling/config.json", "notes 100%.txt"} < files.keys()


async def test_files_that_the_project_has_are_not_sent(slipway: Command, proxy: GatewayProxy, model: Path) -> None:
    ran = await slipway("upload", model, "--name", "m", "--json")
    size_bytes = sum((model / path).stat().st_size for path in digests(model))
    sent = proxy.sent("PUT")

    again = await slipway("upload", model, "--name", "m", "--json")

    assert (ran.json["sent_bytes"], again.json["sent_bytes"]) == (size_bytes, 0)
    assert again.json["kept_bytes"] == size_bytes
    assert proxy.sent("PUT") == sent


async def test_interrupted_archive_is_resumed_by_the_same_command(
    start: Start, slipway: Command, api: AsyncClient, proxy: GatewayProxy, archive: Path
) -> None:
    """Ctrl-C says how to go on; the second run sends only what the first did not."""
    command = ("upload", archive, "--name", "m")
    proxy.fail("part_number=2$", refusal(503, "unavailable", "Later.", {"Retry-After": "30"}), times=99)
    process = await start(*command, "--parallel", "1")
    await proxy.until(lambda: bool(proxy.answered("200 .*part_number=1$")))
    process.send_signal(signal.SIGINT)
    interrupted = await finished(process)
    stored = proxy.sent("part_number=[01]$")
    proxy.recover()

    ran = await slipway(*command, "--json")

    assert interrupted.code == 130
    assert "same command again" in interrupted.err
    assert "Traceback" not in interrupted.err
    assert ran.code == 0, ran.err
    assert ran.json["resumed"] is True
    assert ran.json["kept_bytes"] == 2 * CHUNK_BYTES
    assert proxy.sent("part_number=[01]$") == stored
    assert await registered(api, ran) == digests(archive.with_name("archived"))


async def test_session_with_other_bytes_is_left_alone(
    slipway: Command, api: AsyncClient, proxy: GatewayProxy, archive: Path, tmp_path: Path
) -> None:
    """An archive of the same name and size is not continued with parts of another one."""
    proxy.fail("complete", refusal(500, "internal_error", "Broken."))
    await slipway("upload", archive, "--name", "m")
    [first] = await api.uploads.list().all()
    other = written(given_llama(seed=1), tmp_path / "other")
    size_bytes = archive.stat().st_size
    packed(other, archive)
    assert archive.stat().st_size == size_bytes

    ran = await slipway("upload", archive, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    assert ran.json["resumed"] is False
    assert f"slipway uploads abort {first.session_id}" in ran.err
    assert await registered(api, ran) == digests(other)
    assert (await api.uploads.get(first.session_id)).status == "open"


async def test_broken_connections_and_busy_servers_are_outlived(
    slipway: Command, api: AsyncClient, proxy: GatewayProxy, archive: Path
) -> None:
    proxy.fail("part_number=1$", hang_up)
    proxy.fail("part_number=3$", refusal(503, "unavailable", "Postgres is away.", {"Retry-After": "1"}))
    proxy.fail("complete", refusal(429, "rate_limit_exceeded", "Slower.", {"Retry-After": "1"}))
    proxy.lose_answer("part_number=4$")

    ran = await slipway("upload", archive, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    assert "Postgres is away." in ran.err
    assert await registered(api, ran) == digests(archive.with_name("archived"))


async def test_damaged_bytes_are_sent_again(
    slipway: Command, api: AsyncClient, proxy: GatewayProxy, archive: Path
) -> None:
    proxy.damage("part_number=1$")

    ran = await slipway("upload", archive, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    assert len(proxy.answered("400 .*part_number=1$")) == 1
    assert await registered(api, ran) == digests(archive.with_name("archived"))


async def test_a_server_that_stored_other_bytes_is_found_out(
    slipway: Command, proxy: GatewayProxy, archive: Path
) -> None:
    proxy.change("part_number=0$", lambda stored: stored | {"checksum": "0" * 64})

    ran = await slipway("upload", archive, "--name", "m")

    assert ran.code == 1
    assert "stored other bytes" in ran.err


async def test_findings_are_printed_and_the_exit_code_tells(slipway: Command, api: AsyncClient, model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])

    ran = await slipway("upload", model, "--name", "m")

    assert ran.code == 1
    assert "● error" in ran.out
    printed = "".join(ran.out.split())  # where the room is short, text goes on in the next line
    [finding] = [each for each in (await api.models.report("m")).findings if each.severity == "error"]
    for words in ("error", "model.safetensors", finding.message, finding.fix, finding.rule):
        assert "".join(words.split()).replace("│", "") in printed.replace("│", "")


async def test_refused_archive_is_one_line_and_one_document(
    slipway: Command, api: AsyncClient, proxy: GatewayProxy, tmp_path: Path
) -> None:
    """A session that failed while parts arrive answers the next part with its reason."""
    folder = written(given_llama(), tmp_path / "linked")
    (folder / "a link").symlink_to("config.json")
    archive = tmp_path / "linked.tar"
    with tarfile.open(archive, "w") as tar:  # the link first
        for name in ("a link", "model.safetensors", "config.json"):
            tar.add(folder / name, arcname=name)

    async def refused() -> None:
        await eventually(lambda: _status_is(api, "failed"))

    proxy.before("part_number=2$", refused)

    ran = await slipway("upload", archive, "--name", "m", "--parallel", "1", "--json")

    assert ran.code == 1
    assert proxy.answered("422 .*part_number=")  # of the third part at the latest
    error = ran.json["error"]
    assert error["finding"]["rule"] == "tar-symlink"
    assert "a link" in error["message"]
    assert ran.err.splitlines()[-1] == f"Error: {error['message']}"
    assert await _status_is(api, "failed")


async def test_processing_is_waited_for(
    start: Start, deployment: Deployment, proxy: GatewayProxy, archive: Path
) -> None:
    """202 means: ask again."""
    proxy.set_headers("complete", Prefer="wait=0")
    with deployment.frozen("extractor"):
        process = await start("upload", archive, "--name", "m", "--json")
        await proxy.until(lambda: len(proxy.answered("202 .*complete")) >= 2)
    ran = await finished(process)

    assert ran.code == 0, ran.err
    assert ran.json["status"] == "ready"
    assert len(proxy.answered("200 .*complete")) == 1


async def test_no_wait_returns_at_once(
    slipway: Command, deployment: Deployment, proxy: GatewayProxy, archive: Path
) -> None:
    with deployment.frozen("extractor"):
        ran = await slipway("upload", archive, "--name", "m", "--no-wait", "--json")

    assert (ran.code, ran.json["status"]) == (0, "processing")
    assert len(proxy.sent("complete")) == 1


async def test_file_deleted_meanwhile_is_sent_after_all(
    slipway: Command, api: AsyncClient, deployment: Deployment, project: Project, proxy: GatewayProxy, model: Path
) -> None:
    """The project had a file when the upload was opened, and no longer when it is completed."""
    await slipway("upload", model, "--name", "m")
    proxy.requests.clear()
    config = digests(model)["config.json"]

    async def lose() -> None:
        query = "UPDATE blob SET missing_since = now() WHERE project_id = $1 AND sha256 = $2"
        await asyncio.to_thread(deployment.sql, "gateway", query, project.id, config)

    proxy.before("complete", lose)

    ran = await slipway("upload", model, "--name", "m", "--json")

    assert ran.code == 0, ran.err
    assert [line.rpartition("/")[2] for line in proxy.sent("PUT")] == ["config.json"]
    assert await registered(api, ran) == digests(model)


async def _status_is(api: AsyncClient, status: str) -> bool:
    [session] = await api.uploads.list().all()
    return session.status == status
