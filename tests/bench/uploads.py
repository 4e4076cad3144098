"""Bytes on their way in: as a part, as a directory, as an archive, fifty at once, and to a store far away."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from libs.blobs import Blobs
from libs.client import inspect
from libs.client.api import AsyncClient
from libs.client.model_upload import ModelUpload
from tests.bench import peers
from tests.bench.rows import Figures
from tests.bench.stage import MB, Deployed, Project, Stage
from tests.support.latency import further_away
from tests.support.processes import peak_bytes
from tests.support.tarblocks import BLOCK, END, header

ONE_WAY_S = 0.025


async def gateway_put(stage: Stage) -> Figures:
    """The body of one part of an archive, beside the same client's presigned PUT of as many bytes."""
    size = stage.sizes.part_bytes
    block = _block(size)
    project = await stage.main.project()
    ours, theirs = [], []
    async with Blobs.open(stage.settings["SLIPWAY_S3_URL"]) as blobs, aiohttp.ClientSession() as http:
        for number in range(stage.sizes.repeats + 1):  # the first warms up
            body = {"model_name": f"part {number}", "archive_format": "tar", "archive_size": size}
            session = await _json(http, "POST", f"{project.base_url}/uploads/archive", project, body)
            url = f"{project.base_url}/uploads/{session['session_id']}/parts?part_number=0"
            ours.append(await asyncio.to_thread(peers.send, "POST", url, size, block, project.headers))
            signed = blobs.presign("PUT", f"bench/part-{number}", 600)
            theirs.append(await asyncio.to_thread(peers.send, "PUT", signed, size, block, {}))
            await http.delete(f"{project.base_url}/uploads/{session['session_id']}", headers=project.headers)
        await blobs.delete([f"bench/part-{number}" for number in range(stage.sizes.repeats + 1)])
    our_rate, peer_rate = (size / MB / statistics.median(seconds[1:]) for seconds in (ours, theirs))
    return Figures(our_rate, peer_rate, f"{size >> 20} MiB, POST parts; presigned PUT into the same store")


async def directory(stage: Stage) -> Figures:
    """A model of four shards by `slipway upload`, beside MLflow's bare storing."""
    model = stage.model("directory", stage.sizes.model_bytes)
    size = _size(model)
    ours_s = await stage.median(lambda: _uploaded(stage, model))
    scratch = stage.folder / "mlflow"
    scratch.mkdir()
    s3_url = stage.settings["SLIPWAY_S3_URL"]
    peer_s = statistics.median(await peers.mlflow_log_artifacts(model, s3_url, stage.sizes.repeats, scratch))
    note = f"{size // MB} MB, command start to ready; mlflow log_artifacts into the same store"
    return Figures(size / MB / ours_s, size / MB / peer_s, note)


async def directory_alone(stage: Stage) -> Figures:
    """The same without the peer, which takes an installation."""
    model = stage.model("directory", stage.sizes.model_bytes)
    return Figures(_size(model) / MB / await stage.median(lambda: _uploaded(stage, model)), note="without MLflow")


async def changed_shard(stage: Stage) -> Figures:
    """The model again with one shard of four changed, beside its first upload: seconds."""
    model = stage.model("directory", stage.sizes.model_bytes)
    changed = stage.folder / "changed"
    shutil.copytree(model, changed, dirs_exist_ok=True)
    shard = changed / "model-00002-of-00004.safetensors"
    ours, first = [], []
    for number in range(stage.sizes.repeats):
        project = await stage.main.project()
        first.append(await stage.cli_upload(project, model, "model"))
        with shard.open("r+b") as file:
            file.seek(-8, 2)
            file.write(number.to_bytes(8, "little"))
        ours.append(await stage.cli_upload(project, changed, "model"))
    return Figures(statistics.median(ours), statistics.median(first), "second upload; first upload")


async def archive(stage: Stage) -> Figures:
    """A .tar.gz by `slipway upload`, until it is ready, beside `tar -xzf` of it to this disk: seconds."""
    packed = await asyncio.to_thread(lambda: stage.archive(stage.model("archive", stage.sizes.archive_bytes)))

    async def untarred() -> float:
        folder = stage.folder / "untarred"
        seconds = await peers.untar(packed, folder)
        shutil.rmtree(folder)
        return seconds

    ours_s, peer_s = await stage.median(lambda: _uploaded(stage, packed)), await stage.median(untarred)
    note = f"{_size(stage.folder / 'archive') >> 20} MiB in {packed.stat().st_size >> 20}; tar -xzf to disk"
    return Figures(ours_s, peer_s, note)


async def far_store(stage: Stage) -> Figures:
    """Extraction of an archive of large members where the store is 50 ms away from the extractor, beside 0 ms: MB/s."""
    model = stage.model("member", stage.sizes.member_bytes)
    packed = await asyncio.to_thread(lambda: stage.archive(model))
    size = _size(model)
    s3 = urlsplit(stage.settings["SLIPWAY_S3_URL"])
    async with further_away(str(s3.hostname), int(s3.port or 0), ONE_WAY_S) as proxy:
        netloc = s3.netloc.replace(f":{s3.port}", f":{proxy.port}")
        far_url = s3._replace(netloc=netloc).geturl()
        async with stage.deployed("far", extractor={"SLIPWAY_S3_URL": far_url}) as far:
            far_s = await stage.median(lambda: _extracted(far, packed))
    async with stage.deployed("near") as near:
        near_s = await stage.median(lambda: _extracted(near, packed))
    return Figures(size / MB / far_s, size / MB / near_s, f"{size // MB} MB, open to extracted; 0 ms away")


async def memory(stage: Stage) -> Figures:
    """The gateway's peak while fifty uploads send at once: MB."""
    rate, peak = await _at_once(stage)
    return Figures(peak / MB, note=f"{stage.sizes.uploads} uploads at once, {rate:,.0f} MB/s")


async def _at_once(stage: Stage) -> tuple[float, int]:
    """Send `uploads` archives of one part each at once: MB/s of all, and the gateway's peak in bytes."""
    size = stage.sizes.upload_bytes
    block = _block(size)
    project, pid = await stage.main.project(), stage.main.pid("gateway")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        sessions = []
        for number in range(stage.sizes.uploads):
            body = {"model_name": f"at once {number}", "archive_format": "tar", "archive_size": size}
            sessions.append(await _json(http, "POST", f"{project.base_url}/uploads/archive", project, body))

        async def send(session: dict[str, object]) -> None:
            url = f"{project.base_url}/uploads/{session['session_id']}/parts?part_number=0"
            headers = project.headers | {"Content-Length": str(size)}
            for _ in range(100):
                async with http.post(url, data=_blocks(block, size), headers=headers) as answer:
                    if answer.status != 503:
                        answer.raise_for_status()
                        return
                    await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
            raise RuntimeError("refused with 503 a hundred times")

        Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): starts the peak again
        began = time.perf_counter()
        await asyncio.gather(*(send(session) for session in sessions))
        seconds = time.perf_counter() - began
        for session in sessions:
            await http.delete(f"{project.base_url}/uploads/{session['session_id']}", headers=project.headers)
    return stage.sizes.uploads * size / MB / seconds, peak_bytes(pid)


def _block(size: int) -> bytes:
    """A MiB that makes a tar of one member of `size` bytes in all, when it is sent again and again."""
    member = size - 3 * BLOCK  # without its header and the end marker
    return header("model.safetensors", member) + os.urandom((1 << 20) - 3 * BLOCK) + END


async def _blocks(block: bytes, size: int) -> AsyncIterator[bytes]:
    for _ in range(size // len(block)):
        yield block


async def _uploaded(stage: Stage, path: Path) -> float:
    return await stage.cli_upload(await stage.main.project(), path, "model")


async def _extracted(deployed: Deployed, packed: Path) -> float:
    """Seconds from opening an upload of `packed` until its files are there; not its validation."""
    project = await deployed.project()
    began = time.perf_counter()
    async with AsyncClient(project.base_url, project.key) as api:
        outcome = await ModelUpload(api, inspect(packed), "member").run()
    return time.perf_counter() - began - outcome.seconds["validate"]


async def _json(
    http: aiohttp.ClientSession, method: str, url: str, project: Project, body: object
) -> dict[str, object]:
    async with http.request(method, url, json=body, headers=project.headers) as answer:
        answer.raise_for_status()
        found: dict[str, Any] = await answer.json()
        return found


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
