"""Archives become files, whatever the order and the time in which their parts come."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import random

import pytest

from libs.contracts import ArchiveExtracted, ArchiveProgressed, ArchiveRejected, Format
from tests.integration.extractor.given import Given, tar_of

FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": random.Random(1).randbytes(3_000_000),
    "sub/tokenizer.json": random.Random(2).randbytes(70_000),
    "empty.txt": b"",
}


@pytest.mark.parametrize(
    ("archive_format", "compress"), [("tar", bytes), ("tar.gz", gzip.compress), ("tar.bz2", bz2.compress)]
)
async def test_every_file_is_stored_with_its_digest(given: Given, archive_format: Format, compress) -> None:
    upload = given.upload(compress(tar_of(FILES)), format=archive_format, part_bytes=500_000)
    async with given.working():
        await upload.open()
        await upload.send()
        extracted = await upload.extracted()

    assert await given.contents(extracted) == FILES
    assert {file.path: file.sha256 for file in extracted.files} == {
        path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()
    }
    assert extracted.bytes_in == upload.stream.size_bytes
    assert extracted.stripped_prefix is None
