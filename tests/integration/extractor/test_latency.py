"""A store that is 50 ms away: what comes next is asked for while what is there is worked on."""

from __future__ import annotations

import random

from libs.blobs import Blobs
from services.extractor.parts import SLICES_AHEAD
from tests.integration.extractor.harness import Extractor, tar_of
from tests.support.latency import store_further_away
from tests.support.stack import Stack

MIB = 1024 * 1024


async def test_reads_and_writes_overlap(extractor: Extractor, stack: Stack, namespace: str) -> None:
    """Parts are requested before the one before them is there, each once; those of a large member sent side by side."""
    content = {"model.bin": random.Random(1).randbytes(40 * MIB)}
    upload = extractor.upload(tar_of(content), part_bytes=2 * MIB)
    await upload.send()
    async with (
        store_further_away(stack.bucket_url(namespace), 0.025) as (proxy, url),
        Blobs.open(url) as blobs,
        extractor.working(blobs=blobs),
    ):
        await upload.open(*range(len(upload.pieces)))
        assert await extractor.contents(await upload.extracted()) == content
    assert proxy.most_at_once("GET", containing="/uploads/") == SLICES_AHEAD
    assert proxy.most_at_once("PUT", containing="partNumber=") >= 2
    reads = [target for method, target in proxy.requests if method == "GET" and "/uploads/" in target]
    assert len(reads) == len(upload.pieces)
