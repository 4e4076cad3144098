"""Small requests: how soon a model is ready, how many answers a second, how little is read to validate."""

from __future__ import annotations

import asyncio
import statistics
import time
from urllib.parse import urlsplit

import aiohttp

from libs.client import AsyncClient, ModelUpload, inspect
from libs.config import schema_name
from tests.bench import peers
from tests.bench.rows import Figures
from tests.bench.stage import Project, Stage
from tests.support.models import given_llama, written

CONNECTIONS = 8
LOOK_S = 0.002


async def small_model(stage: Stage) -> Figures:
    """From sending `POST complete` of a small model's archive to `ready` by `GET models/{id}` every 2 ms: p50 in ms."""
    taken = []
    async with aiohttp.ClientSession() as http:
        for number in range(stage.sizes.small_models):
            project = await stage.main.project()
            packed = stage.archive(written(given_llama(seed=number), stage.folder / f"small-{number}"))
            taken.append(await _ready_after_complete(http, project, packed.read_bytes()))
    return Figures(1000 * statistics.median(taken), note=f"{len(taken)} models, POST complete, then GET every 2 ms")


async def _ready_after_complete(http: aiohttp.ClientSession, project: Project, archive: bytes) -> float:
    body = {"model_name": "small", "archive_format": "tar.gz", "archive_size": len(archive)}
    async with http.post(f"{project.base_url}/uploads/archive", json=body, headers=project.headers) as answer:
        session = await answer.json()
    uploads = f"{project.base_url}/uploads/{session['session_id']}"
    async with http.post(f"{uploads}/parts?part_number=0", data=archive, headers=project.headers) as answer:
        answer.raise_for_status()
    model = f"{project.base_url}/models/{session['model_id']}?extended=true"
    began = time.perf_counter()
    async with http.post(f"{uploads}/complete", headers=project.headers) as answer:
        answer.raise_for_status()
    while True:
        async with http.get(model, headers=project.headers) as answer:
            status = (await answer.json())["status"]
        if status == "ready":
            return time.perf_counter() - began
        if status == "error":
            raise RuntimeError("the small model is in error")
        await asyncio.sleep(LOOK_S)


async def get_model(stage: Stage) -> Figures:
    """`GET models/{id}` a second over eight connections, beside the same client asking the bare server."""
    project = await stage.main.project()
    path = written(given_llama(seed=99), stage.folder / "asked-for")
    async with AsyncClient(project.base_url, project.key) as api:
        model_id = (await ModelUpload(api, inspect(path), "asked-for").run()).completed.model_id
    database = stage.settings["SLIPWAY_DATABASE_URL"]
    async with peers.bare_server(database, schema_name("", "gateway")) as bare:
        ours, theirs = [], []
        for _ in range(stage.sizes.repeats + 1):
            ours.append(
                await requests_a_second(f"{project.base_url}/models/{model_id}", project.key, stage.sizes.requests)
            )
            theirs.append(await requests_a_second(f"{bare}/models/{model_id}", project.key, stage.sizes.requests))
    note = f"{stage.sizes.requests} requests over {CONNECTIONS} connections; aiohttp + asyncpg, one query"
    return Figures(statistics.median(ours[1:]), statistics.median(theirs[1:]), note)


async def requests_a_second(url: str, key: str, requests: int) -> float:
    """Requests a second over eight connections.

    The client reads no more of an answer than its length, so that it is not what is measured.
    """
    target = urlsplit(url)
    query = f"?{target.query}" if target.query else ""
    asked = (
        f"GET {target.path}{query} HTTP/1.1\r\nHost: {target.netloc}\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    )

    async def work() -> None:
        reader, writer = await asyncio.open_connection(target.hostname, target.port)
        for _ in range(requests // CONNECTIONS):
            writer.write(asked)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not head.startswith(b"http/1.1 200"):
                raise RuntimeError(f"{target.path} answered {head[:60]!r}")
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    return requests // CONNECTIONS * CONNECTIONS / (time.perf_counter() - began)


async def bytes_read(stage: Stage) -> Figures:
    """What validating the model of four shards reads of it, as its report says: bytes; of how many."""
    project = await stage.main.project()
    model = stage.model("directory", stage.sizes.model_bytes)
    async with AsyncClient(project.base_url, project.key) as api:
        outcome = await ModelUpload(api, inspect(model), "read").run()
    if outcome.report is None or outcome.report.bytes_read is None or outcome.model is None:
        raise RuntimeError("the model has no report")
    return Figures(outcome.report.bytes_read, outcome.model.size_bytes, "of the bytes of the model")
