"""Bytes through a handler that hashes them, beside the same client writing to the same S3 server directly."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from libs.blobs import Blobs
from tests.support.stack import Stack

MIB = 1024 * 1024
SIZE_MIB = 512
ROUNDS = 2
LEAST_RATIO = 0.5  # 0.85 where nothing else runs; a busy machine of two cores gets less
MOST_BYTES = 80 * MIB


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_bytes_stream_at_nearly_the_speed_of_the_store(
    stack: Stack, namespace: str, blobs: Blobs, record_property: pytest.FixtureRequest
) -> None:
    """Hashed on the way, in memory that does not depend on its size. The best of some rounds each, taken in turns."""
    block = random.Random(5).randbytes(MIB)
    whole = hashlib.sha256()
    for _ in range(SIZE_MIB):
        whole.update(block)
    direct_s, through_s, peak_bytes = [], [], 0
    async with streaming(stack.bucket_url(namespace)) as url:
        for _ in range(ROUNDS):
            seconds, _answer = await asyncio.to_thread(put, blobs.presign("PUT", "direct", 600), block)
            direct_s.append(seconds)
            seconds, answer = await asyncio.to_thread(put, url, block)
            through_s.append(seconds)
            assert json.loads(answer)["sha256"] == whole.hexdigest()
            peak_bytes = json.loads(answer)["peak_bytes"]
    ratio = min(direct_s) / min(through_s)
    for name, value in {"direct_s": direct_s, "through_s": through_s, "ratio": ratio, "peak_bytes": peak_bytes}.items():
        record_property(name, value)
    print(
        f"\n{SIZE_MIB} MiB: {speed(direct_s)} MB/s directly, {speed(through_s)} MB/s hashed, "
        f"ratio {ratio:.2f}, peak {peak_bytes / MIB:.0f} MiB"
    )
    assert peak_bytes < MOST_BYTES
    assert ratio >= LEAST_RATIO


def put(url: str, block: bytes) -> tuple[float, bytes]:
    """Send the block so many times as one body. Returns the seconds that it took, and the answer."""
    target = urlsplit(url)
    connection = http.client.HTTPConnection(target.netloc)
    try:
        began = time.perf_counter()
        connection.putrequest("PUT", f"{target.path}?{target.query}")
        connection.putheader("Content-Length", str(SIZE_MIB * len(block)))
        connection.endheaders()
        for _ in range(SIZE_MIB):
            connection.send(block)
        answer = connection.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - began
    finally:
        connection.close()
    assert answer.status == 200, body
    return seconds, body


def speed(seconds: list[float]) -> str:
    """The best, in MB/s."""
    return f"{SIZE_MIB * MIB / min(seconds) / 1e6:.0f}"


@asynccontextmanager
async def streaming(s3_url: str) -> AsyncIterator[str]:
    """The handler's URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.streaming", s3_url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}/"
    finally:
        process.kill()
        await process.wait()
