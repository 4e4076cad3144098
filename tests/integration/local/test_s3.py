"""The embedded S3 server keeps what it acknowledged, listens where it should, and takes over what earlier ones kept."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from deploy.local import object_import, server
from deploy.local.errors import CannotRun
from deploy.local.object_import import ImportableObjects, check_importable, find_importable, import_objects
from deploy.local.ports import free_port
from deploy.local.process import Process
from deploy.local.s3 import S3
from libs.blobs import Blobs
from tests.integration.blobs.contents import MIB, content, in_chunks

FORMER = {"proj_1/objects/up_1/0000/a": b"weights", "proj_1/parts/up_2/0": b"", "proj_2/objects/x": content(3 * MIB)}


@asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[tuple[Process, Blobs]]:
    """The server on `data_dir`, stopped in order afterwards unless it has ended."""
    s3 = S3(data_dir, free_port(), "access", "secretsecret")
    process = await server.start(s3)
    try:
        async with Blobs.open(s3.url) as blobs:
            yield process, blobs
    finally:
        if process.returncode is None:
            assert await process.stop(within_s=10) == 0


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """With a name that needs quoting in a URL."""
    folder = tmp_path / "a b&c?d#e%20"
    folder.mkdir()
    return folder


async def test_what_was_acknowledged_is_there_after_a_kill(data_dir: Path) -> None:
    """Objects, what was deleted, and the parts of a multipart upload that is still to be completed."""
    data = content(20 * MIB)
    async with running(data_dir) as (process, blobs):
        await asyncio.gather(*(blobs.put_bytes(f"{number % 7}/{number}", b"x" * number) for number in range(200)))
        await blobs.put("large", in_chunks(data), len(data))
        await blobs.delete(["0/0", "1/1"])
        await process.kill()
    async with running(data_dir) as (_, blobs):
        assert {info.key: info.size_bytes async for info in blobs.list()} == {
            **{f"{number % 7}/{number}": number for number in range(2, 200)},
            "large": len(data),
        }
        assert b"".join([chunk async for chunk in blobs.get("large")]) == data


async def test_parts_outlive_a_kill(data_dir: Path) -> None:
    data = content(40 * MIB)
    s3 = S3(data_dir, free_port(), "access", "secretsecret")
    process = await server.start(s3)
    async with Blobs.open(s3.url) as blobs, blobs.writer("key", None) as writer:
        await writer.write(data[: 34 * MIB])
        await process.kill()
        process = await server.start(s3)
        await writer.write(data[34 * MIB :])
    async with Blobs.open(s3.url) as blobs:
        assert b"".join([chunk async for chunk in blobs.get("key")]) == data
    await process.stop(within_s=10)


async def test_an_object_of_parts_is_written_once(data_dir: Path) -> None:
    """Nothing is joined in the background when it is read: that would be a second copy of every byte."""
    data = content(66 * MIB)
    async with running(data_dir) as (_, blobs):
        async with blobs.writer("key", len(data)) as writer:
            await writer.write(data)
        blocks = _blocks(data_dir)
        for _ in range(3):
            assert b"".join([chunk async for chunk in blobs.get("key")]) == data
        assert _blocks(data_dir) == blocks


async def test_the_data_directory_may_be_moved(data_dir: Path) -> None:
    async with running(data_dir) as (_, blobs):
        await blobs.put_bytes("key", b"here")
    moved = data_dir.rename(data_dir.with_name("elsewhere"))
    async with running(moved) as (_, blobs):
        assert await blobs.read("key", 0, 4) == b"here"
    assert not data_dir.exists()


async def test_an_interrupted_first_start_is_begun_again(data_dir: Path) -> None:
    (data_dir / "s3" / "store.new" / "metadata").mkdir(parents=True)
    (data_dir / "s3" / "store.new" / "metadata" / "MANIFEST").write_text("half")
    async with running(data_dir) as (_, blobs):
        await blobs.put_bytes("key", b"here")
    assert [each.name for each in (data_dir / "s3").iterdir()] == ["store"]


async def test_it_listens_on_one_loopback_port_and_connects_to_nobody(data_dir: Path) -> None:
    async with running(data_dir) as (process, blobs):
        await blobs.put_bytes("key", b"here")
        connections = psutil.Process(process.pid).net_connections("inet")
    sockets = {(each.laddr.ip, each.raddr.ip if each.raddr else "") for each in connections}
    assert sockets <= {("127.0.0.1", ""), ("127.0.0.1", "127.0.0.1")}
    assert len([each for each in connections if each.status == psutil.CONN_LISTEN]) == 1


@pytest.fixture
def old(data_dir: Path) -> ImportableObjects:
    """A data directory as earlier releases left it."""
    for key, data in FORMER.items():
        file = data_dir / "s3" / "slipway" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (data_dir / "s3" / "slipway" / "proj_1" / ".rclone_temp_5").write_bytes(b"unfinished")
    found = find_importable(data_dir)
    assert found is not None
    return found


async def stored(blobs: Blobs) -> dict[str, bytes]:
    return {info.key: await blobs.read(info.key, 0, 4 * MIB) async for info in blobs.list()}


async def test_objects_of_an_earlier_release_are_imported_and_kept(data_dir: Path, old: ImportableObjects) -> None:
    s3 = S3(data_dir, free_port(), "access", "secretsecret")
    process = await server.start(s3)
    said: list[str] = []
    await import_objects(old, s3.url, said.append)
    async with Blobs.open(s3.url) as blobs:
        assert await stored(blobs) == FORMER
    await process.stop(within_s=10)

    kept = data_dir / "s3" / "slipway.imported"
    assert {key: (kept / key).read_bytes() for key in FORMER} == FORMER
    assert find_importable(data_dir) is None
    assert "3 objects, 3.1 MB" in said[0]
    assert str(kept) in said[-1]


async def test_an_import_goes_on_where_it_stopped(
    data_dir: Path, old: ImportableObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object that came whole is not sent again, and the folder stays until all are there."""
    monkeypatch.setattr(object_import, "AT_ONCE", 1)
    s3 = S3(data_dir, free_port(), "access", "secretsecret")
    process = await server.start(s3)
    first, *_, last = old.sizes
    lost = (old.folder / last).rename(data_dir / "lost")
    with pytest.raises(CannotRun, match="goes on where it stopped"):
        await import_objects(old, s3.url, print)
    assert old.folder.is_dir()

    lost.rename(old.folder / last)
    (old.folder / first).write_bytes(b"!" * old.sizes[first])
    await import_objects(old, s3.url, print)
    async with Blobs.open(s3.url) as blobs:
        assert await stored(blobs) == FORMER
    await process.stop(within_s=10)


def test_without_the_option_it_says_how_to_move(data_dir: Path, old: ImportableObjects) -> None:
    with pytest.raises(CannotRun, match=r"s3/slipway holds .*3 objects.*--import-objects.*slipway\.imported"):
        check_importable(old, data_dir, wanted=False)
    check_importable(old, data_dir, wanted=True)


def test_without_room_for_the_copies_nothing_is_begun(
    data_dir: Path, old: ImportableObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_import, "SPARE_BYTES", shutil.disk_usage(data_dir).free)
    with pytest.raises(CannotRun, match="Make room"):
        check_importable(old, data_dir, wanted=True)


def _blocks(data_dir: Path) -> set[str]:
    """The files that have the bytes of objects."""
    folder = data_dir / "s3" / "store" / "objects"
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
