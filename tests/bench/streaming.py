"""The hot path of an upload as a process of its own: a request's body, hashed, into the object store.

`python -m tests.bench.streaming S3_URL` prints its port, takes PUTs on it, and answers with what it saw.
"""

from __future__ import annotations

import asyncio
import os
import sys

import uvloop
from aiohttp import web

from libs.blobs import Blobs
from libs.contracts import new_id
from libs.digest import Digest
from tests.support.processes import peak_bytes

CHUNK_BYTES = 1024 * 1024


async def serve(s3_url: str) -> None:
    """Until killed."""
    async with Blobs.open(s3_url) as blobs:

        async def store(request: web.Request) -> web.Response:
            digest = Digest(request.content.iter_any())
            await blobs.put(new_id(), digest, request.content_length)
            return web.json_response({"sha256": digest.sha256, "peak_bytes": peak_bytes(os.getpid())})

        app = web.Application()
        app.router.add_put("/", store)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
