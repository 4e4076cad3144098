"""The package `slipway` as a program uses it: AsyncClient, and Client where there is no event loop."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway import (
    ApiError,
    AsyncClient,
    AuthenticationError,
    Client,
    ClientError,
    LocalProblem,
    ModelRejectedError,
    NotFoundError,
)
from tests.integration.cli.conftest import Project, digests, environment, finished
from tests.integration.cli.proxy import GatewayProxy, refusal
from tests.support.deployment import CHUNK_BYTES, Deployment
from tests.support.models import given_llama, written
from tests.support.plain_install import program_without_other_packages

UPLOADING = """
import sys, threading
from slipway import Client

client = Client()
try:
    client.upload(sys.argv[1], name="m", parallel=1)
except KeyboardInterrupt:
    client.close()
    print("interrupted", [thread.name for thread in threading.enumerate()])
"""

USING = """
import sys
from slipway import Client

with Client() as client:
    model = client.upload(sys.argv[1], name="m")
    print(model.status, [each.name for each in client.models.list()])
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests are kept in a place of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def client(deployment: Deployment, project: Project) -> Iterator[Client]:
    """Not by way of the proxy, whose loop is that of the test: it could not answer while a call waits."""
    with Client(f"{deployment.address}/{project.id}/v1", project.key) as client:
        yield client


async def test_upload_returns_the_model_once_it_is_ready(api: AsyncClient, model: Path) -> None:
    seen: list[tuple[int, int]] = []

    uploaded = await api.upload(model, name="m", progress=lambda done, total: seen.append((done, total)))

    size_bytes = sum((model / path).stat().st_size for path in digests(model))
    assert (uploaded.status, uploaded.name, uploaded.version) == ("ready", "m", "1.0.0")
    assert uploaded.architecture == "LlamaForCausalLM"
    assert (seen[0], seen[-1]) == ((0, size_bytes), (size_bytes, size_bytes))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {file.path: file.sha256 async for file in api.models.files("m")} == digests(model)


async def test_without_waiting_the_model_is_waited_for_later(
    api: AsyncClient, deployment: Deployment, archive: Path
) -> None:
    with deployment.frozen("extractor"):
        sent = await api.upload(archive, name="m", wait=False)
        with pytest.raises(TimeoutError, match="is still processing"):
            await api.models.wait("m", timeout_s=0)

    ready = await api.models.wait("m")

    assert (sent.status, ready.status) == ("processing", "ready")
    assert sent.id == ready.id


async def test_a_model_in_error_is_raised_with_its_findings(api: AsyncClient, model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])

    with pytest.raises(ModelRejectedError, match=r"Model m 1\.0\.0 is in error: model\.safetensors: ") as raised:
        await api.upload(model, name="m")
    with pytest.raises(ModelRejectedError) as again:
        await api.models.wait("m")

    assert raised.value.model.status == "error"
    assert [finding.file for finding in raised.value.findings] == ["model.safetensors"]
    assert again.value.message == raised.value.message


async def test_a_callback_that_raises_ends_the_upload_which_goes_on_later(
    api: AsyncClient, proxy: GatewayProxy, project: Project, archive: Path
) -> None:
    """What it raises is raised as it is, and not taken for a broken connection."""

    class EnoughError(Exception):
        pass

    def enough(done: int, total: int) -> None:
        if done > 3 * CHUNK_BYTES:
            raise EnoughError

    async with AsyncClient(f"{proxy.address}/{project.id}/v1", project.key) as client:
        with pytest.raises(EnoughError):
            await client.upload(archive, name="m", progress=enough, parallel=1)
        seen: list[int] = []
        uploaded = await client.upload(archive, name="m", progress=lambda done, total: seen.append(done))

    assert uploaded.status == "ready"
    assert seen[0] >= 3 * CHUNK_BYTES
    assert len(proxy.answered("200 .*part_number=[012]$")) == 3
    assert [upload.status for upload in await api.uploads.list().all()] == ["completed"]


async def test_errors_are_one_hierarchy_and_say_what_to_do(api: AsyncClient, deployment: Deployment) -> None:
    with pytest.raises(NotFoundError) as missing:
        await api.models.get("nothing")
    async with AsyncClient(deployment.address, "xero_nobody_nothing") as stranger:
        with pytest.raises(AuthenticationError) as unknown:
            await stranger.models.list().all()

    assert (missing.value.status, missing.value.code) == (404, "model_not_found")
    assert missing.value.request_id
    assert (unknown.value.status, unknown.value.code) == (401, "authentication_error")
    assert issubclass(NotFoundError, ApiError)
    assert issubclass(ApiError, ClientError)


async def test_download_goes_on_where_it_stopped(
    api: AsyncClient, proxy: GatewayProxy, project: Project, model: Path, tmp_path: Path
) -> None:
    """A file that is there is not transferred again; one of which some is there, from there on."""
    await api.upload(model, name="m")
    to = tmp_path / "copy"
    async with AsyncClient(f"{proxy.address}/{project.id}/v1", project.key, patience_s=0) as client:
        proxy.fail("GET .*files/model.safetensors", refusal(403, "permission_denied", "Not this one."))
        with pytest.raises(ApiError, match="Not this one"):
            await client.models.download("m", to, parallel=1)
        [part] = to.glob("model.safetensors.*.part")
        part.write_bytes((model / "model.safetensors").read_bytes()[:1000])
        before = len(proxy.sent("GET .*files/"))
        seen: list[tuple[int, int]] = []

        done = await client.models.download("m", to, progress=lambda *amounts: seen.append(amounts))

    size_bytes = sum(path.stat().st_size for path in to.rglob("*") if path.is_file())
    assert done == to
    assert digests(to) == digests(model)
    assert len(proxy.sent("GET .*files/")) - before <= len(digests(model))
    assert len(proxy.answered("206 .*files/model.safetensors")) == 1
    assert seen[-1] == (size_bytes, size_bytes)
    assert not list(to.glob("*.part"))


async def test_a_callback_that_raises_ends_the_download_which_goes_on_later(
    api: AsyncClient, model: Path, tmp_path: Path
) -> None:
    await api.upload(model, name="m")

    def enough(done: int, total: int) -> None:
        if done:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        await api.models.download("m", tmp_path / "copy", progress=enough)

    assert digests(await api.models.download("m", tmp_path / "copy")) == digests(model)


async def test_download_of_some_files(api: AsyncClient, model: Path, tmp_path: Path) -> None:
    await api.upload(model, name="m")

    await api.models.download("m", tmp_path / "some", files=["config.json", "1_Pooling/config.json"])

    assert digests(tmp_path / "some").keys() == {"config.json", "1_Pooling/config.json"}
    with pytest.raises(LocalProblem, match=r"has no file 'nothing\.bin'"):
        await api.models.download("m", tmp_path / "none", files=["nothing.bin"])


async def test_versions_are_newest_first(api: AsyncClient, model: Path) -> None:
    for _ in range(3):
        await api.upload(model, name="m")

    assert [each.version async for each in api.models.versions("m")] == ["1.2.0", "1.1.0", "1.0.0"]
    assert len(await api.models.list(name="m").all()) == 3
    assert await api.models.list(name="other").all() == []


async def test_the_blocking_client_works_where_a_loop_runs(client: Client, model: Path, tmp_path: Path) -> None:
    """As in a notebook."""
    uploaded = client.upload(model, name="m")

    assert uploaded.status == "ready"
    assert client.models.get("m") == uploaded
    assert [each.id for each in client.models.list()] == [uploaded.id]
    assert {file.path: file.sha256 for file in client.models.files("m")} == digests(model)
    assert client.models.report("m").findings == []
    assert [each.status for each in client.uploads.list(model_name="m")] == ["completed"]
    assert digests(client.models.download("m", tmp_path / "copy")) == digests(model)
    with pytest.raises(NotFoundError):
        client.models.get("nothing")


def test_the_blocking_client_leaves_no_thread(deployment: Deployment) -> None:
    """Neither closed nor forgotten."""
    before = set(threading.enumerate())
    closed = Client(deployment.address, "xero_nobody_nothing")
    with pytest.raises(AuthenticationError):
        closed.models.list().all()
    closed.close()
    closed.close()
    forgotten = Client(deployment.address, "xero_nobody_nothing")
    with pytest.raises(AuthenticationError):
        forgotten.models.get("m")
    del forgotten

    assert set(threading.enumerate()) <= before
    with pytest.raises(RuntimeError, match="is closed"):
        closed.models.get("m")


def test_the_blocking_client_may_be_used_by_many_threads(client: Client) -> None:
    answered: list[int] = []
    threads = [threading.Thread(target=lambda: answered.append(len(client.models.list().all()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answered == [0] * 8


def test_the_blocking_client_refuses_to_wait_for_itself(client: Client, model: Path) -> None:
    """A callback runs in the client's thread, where nothing would ever answer."""
    with pytest.raises(RuntimeError, match="cannot be used in its own callbacks"):
        client.upload(model, name="m", progress=lambda done, total: client.models.get("m"))


async def test_ctrl_c_ends_a_blocking_upload_which_goes_on_later(
    api: AsyncClient, proxy: GatewayProxy, archive: Path, credentials: Path, tmp_path: Path
) -> None:
    proxy.fail("part_number=2$", refusal(503, "unavailable", "Later.", {"Retry-After": "30"}), times=99)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        UPLOADING,
        str(archive),
        env=environment(SLIPWAY_CREDENTIALS=str(credentials), XDG_CACHE_HOME=str(tmp_path / "cache")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await proxy.until(lambda: bool(proxy.answered("200 .*part_number=1$")))
    process.send_signal(signal.SIGINT)
    ran = await finished(process)
    proxy.recover()
    seen: list[int] = []

    uploaded = await api.upload(archive, name="m", progress=lambda done, total: seen.append(done))

    assert (ran.code, ran.out, ran.err) == (0, "interrupted ['MainThread']\n", "")
    assert uploaded.status == "ready"
    assert seen[0] == 2 * CHUNK_BYTES


async def test_the_package_needs_no_package_of_a_server(credentials: Path, tmp_path: Path) -> None:
    """After `pip install slipway` without extras."""
    model = written(given_llama(), tmp_path / "plain")
    process = await asyncio.create_subprocess_exec(
        *program_without_other_packages(USING, str(model)),
        env=environment(SLIPWAY_CREDENTIALS=str(credentials), XDG_CACHE_HOME=str(tmp_path / "cache")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    ran = await finished(process)

    assert (ran.code, ran.out) == (0, "ready ['m']\n"), ran.err
