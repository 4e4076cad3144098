"""Content that is refused is refused at its first bad byte, while the rest is still to come."""

from __future__ import annotations

import gzip

import pytest

from libs.contracts import ArchiveRejected
from libs.contracts.keys import staged_key
from tests.integration.extractor.harness import PROJECT, Extractor, tar_of
from tests.support.hostile import Hostile, hostile_archives
from tests.support.tarblocks import header, member

SAMPLE = {"symbolic link", "parent", "names by case", "gzip with a wrong CRC", "cut in content", "zip as tar.gz"}


async def test_refused_before_the_upload_ends(extractor: Extractor) -> None:
    files = member("config.json") + member("model.bin", bytes(200_000))
    link = header("evil", type_=b"2", link="/etc/passwd")
    upload = extractor.upload(files + link + bytes(900_000), part_bytes=100_000)
    async with extractor.working():
        await upload.open()
        await upload.send([0, 1, 2])
        rejected = await upload.rejected()
    assert rejected.finding.rule == "tar-symlink"
    assert rejected.finding.file == "evil"
    assert rejected.finding.offset_bytes == len(files)
    assert "tar -h" in rejected.finding.fix


@pytest.mark.parametrize("hostile", [a for a in hostile_archives() if a.name in SAMPLE], ids=lambda a: a.name)
async def test_hostile_archives_reach_their_finding(extractor: Extractor, hostile: Hostile) -> None:
    upload = extractor.upload(hostile.content, format=hostile.format, part_bytes=333)
    async with extractor.working():
        await upload.open()
        await upload.send()
        assert (await upload.rejected()).finding.rule == hostile.rule
    assert len(await extractor.emitted(ArchiveRejected)) == 1
    assert await extractor.pool.fetchval("SELECT count(*) FROM extraction_part") == 0


@pytest.mark.parametrize("kind", ["archive", "file", "object"])
async def test_other_bytes_than_declared(extractor: Extractor, kind: str) -> None:
    if kind == "archive":
        upload = extractor.upload(gzip.compress(tar_of({"a": b"b"})), format="tar.gz", sha256="0" * 64)
    elif kind == "file":
        upload = extractor.upload(b"content", format="raw", path="a", sha256="0" * 64)
    else:
        upload = extractor.upload(
            b"content", format="object", path="a", sha256="0" * 64, key=f"{PROJECT}/objects/u/f0-a"
        )
    async with extractor.working():
        await upload.open()
        await upload.send()
        rejected = await upload.rejected()
    assert rejected.finding.rule == ("archive-checksum" if kind == "archive" else "file-checksum")


async def test_file_that_was_replaced_by_one_of_another_size(extractor: Extractor) -> None:
    """After it was announced, by whoever has its signed URL."""
    key = staged_key(PROJECT, "u1", "a")
    upload = extractor.upload(b"content", format="staged", path="a", key=key)
    await upload.send()
    await extractor.blobs.put_bytes(key, b"longer content")
    async with extractor.working():
        await upload.open()
        rejected = await upload.rejected()
    assert rejected.finding.rule == "file-size"
    assert rejected.finding.sentence() == "a: The stored object has 14 bytes, not 7. Send the file again."
    assert await extractor.objects(upload) == []


async def test_bomb(extractor: Extractor) -> None:
    upload = extractor.upload(gzip.compress(tar_of({"zeros": bytes(270 * 1024 * 1024)}), 1), format="tar.gz")
    async with extractor.working():
        await upload.open()
        await upload.send()
        assert (await upload.rejected()).finding.rule == "archive-bomb"
    assert await extractor.objects(upload) == []
