"""A project of many models: how many pages of its list a second, and how long its slowest answers take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import aiohttp
import asyncpg

from libs.config import schema_name
from tests.bench import peers
from tests.bench.answers import requests_a_second
from tests.bench.rows import Figures
from tests.bench.stage import Project, Stage

PAGE = 20  # models
_MODELS = """
    INSERT INTO model (id, project_id, name, version, is_latest, status, architecture, format, size_bytes, file_count,
                       is_shared, catalog_role, shared_at)
    SELECT $1 || '-' || n, $1, 'model ' || n, '1.0.0', true, 'ready', 'LlamaForCausalLM', 'safetensors', 1000000000, 7,
           n % 10 = 0, CASE WHEN n % 10 = 0 THEN 'deployable' END, CASE WHEN n % 10 = 0 THEN now() END
      FROM generate_series(1, $2::integer) AS n
"""
_SHARING = "INSERT INTO project_feature (project_id, feature) VALUES ($1, 'model_sharing')"


async def list_models(stage: Stage) -> Figures:
    """`GET models?limit=20` a second of a project with many models, beside the bare server with the same page."""
    project, project_id = await _large_project(stage)
    database = stage.settings["SLIPWAY_DATABASE_URL"]
    async with peers.bare_server(database, schema_name("", "gateway")) as bare:
        ours, theirs = [], []
        for _ in range(stage.sizes.repeats + 1):
            url = f"{project.base_url}/models?limit={PAGE}"
            ours.append(await requests_a_second(url, project.key, stage.sizes.requests))
            url = f"{bare}/projects/{project_id}/models?limit={PAGE}"
            theirs.append(await requests_a_second(url, project.key, stage.sizes.requests))
    note = f"pages of {PAGE} of {stage.sizes.models} models; aiohttp + asyncpg, one query"
    return Figures(statistics.median(ours[1:]), statistics.median(theirs[1:]), note)


async def slowest_answers(stage: Stage) -> Figures:
    """The 99th percentile in ms of one client's requests to a project with many models: the slowest kind of them."""
    project, project_id = await _large_project(stage)
    last = stage.sizes.models
    kinds = {
        "get by id": [f"models/{project_id}-{1 + n * 7919 % last}" for n in range(200)],
        "get by name": [f"models/model%20{1 + n * 7919 % last}" for n in range(200)],
        "list": [f"models?limit={PAGE}&after={project_id}-{1 + n * 7919 % last}" for n in range(200)],
        "search of the catalog": [f"catalog?limit={PAGE}&q=model%20{1 + n * 7919 % last}" for n in range(200)],
        "list by name": [f"models?name=model%20{1 + n * 7919 % last}" for n in range(200)],
    }
    async with aiohttp.ClientSession(headers=project.headers) as http:
        percentiles = {kind: await _p99_ms(http, project, paths) for kind, paths in kinds.items()}
    note = ", ".join(f"{kind} {milliseconds:.1f}" for kind, milliseconds in percentiles.items())
    return Figures(max(percentiles.values()), note=f"of {last} models: {note}")


async def _large_project(stage: Stage) -> tuple[Project, str]:
    """A project with models, and its id."""
    project = await stage.main.project()
    project_id = project.base_url.split("/")[-2]
    connection = await asyncpg.connect(
        stage.settings["SLIPWAY_DATABASE_URL"], server_settings={"search_path": schema_name("", "gateway")}
    )
    try:
        await connection.execute(_MODELS, project_id, stage.sizes.models)
        await connection.execute(_SHARING, project_id)
        await connection.execute("ANALYZE model")
    finally:
        await connection.close()
    return project, project_id


async def _p99_ms(http: aiohttp.ClientSession, project: Project, paths: Sequence[str]) -> float:
    taken = []
    for path in paths:
        began = time.perf_counter()
        async with http.get(f"{project.base_url}/{path}") as answer:
            answer.raise_for_status()
            await answer.read()
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.quantiles(taken, n=100)[-1]
