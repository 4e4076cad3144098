"""`GET /models/{id}`, and a list, by nothing but aiohttp and asyncpg: one query on an index, answered as JSON.

`python -m tests.bench.bare DATABASE_URL SCHEMA` prints its port.
"""

from __future__ import annotations

import asyncio
import sys

import asyncpg
import msgspec
import uvloop
from aiohttp import web

QUERY = """
    SELECT id, name, version, status, size_bytes, file_count, architecture, context_length, parameter_count, created_at
      FROM model WHERE id = $1
"""
LIST = """
    SELECT id, name, version, is_latest, status, format, size_bytes, created_at
      FROM model WHERE project_id = $1 ORDER BY serial DESC LIMIT $2
"""


async def serve(database_url: str, schema: str) -> None:
    """Until killed."""
    async with asyncpg.create_pool(database_url, server_settings={"search_path": schema}) as pool:

        async def model(request: web.Request) -> web.Response:
            row = await pool.fetchrow(QUERY, request.match_info["id"])
            return web.Response(body=msgspec.json.encode(dict(row)), content_type="application/json")

        async def models(request: web.Request) -> web.Response:
            rows = await pool.fetch(LIST, request.match_info["project"], int(request.query["limit"]))
            return web.Response(body=msgspec.json.encode([dict(row) for row in rows]), content_type="application/json")

        app = web.Application()
        app.router.add_get("/models/{id}", model)
        app.router.add_get("/projects/{project}/models", models)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
