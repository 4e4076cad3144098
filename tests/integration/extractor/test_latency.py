"""A store that is 50 ms away: what comes next is asked for while what is there is worked on."""

from __future__ import annotations

import random
from urllib.parse import urlsplit

from libs.blobs import Blobs
from tests.integration.extractor.given import Given, tar_of
from tests.support.latency import further_away
from tests.support.stack import Stack

MIB = 1024 * 1024


async def test_reads_and_writes_overlap(given: Given, stack: Stack, namespace: str) -> None:
    """Parts are requested before the one before them is there, and parts of a large member sent two at a time."""
    content = {"model.bin": random.Random(1).randbytes(40 * MIB)}
    upload = given.upload(tar_of(content), part_bytes=2 * MIB)
    await upload.send()
    url = stack.bucket_url(namespace)
    address = urlsplit(url)
    async with further_away(address.hostname or "", address.port or 0, 0.025) as proxy:
        near = f"127.0.0.1:{proxy.port}"
        async with (
            Blobs.open(url.replace(f"{address.hostname}:{address.port}", near)) as blobs,
            given.working(blobs=blobs),
        ):
            await upload.open(*range(len(upload.pieces)))
            assert await given.contents(await upload.extracted()) == content
    assert proxy.most_at_once("GET", containing="/uploads/") == 4
    assert proxy.most_at_once("PUT", containing="partNumber=") == 2
    assert len([method for method, target in proxy.requests if method == "GET" and "/uploads/" in target]) == len(
        upload.pieces
    )
