"""Imports the objects of earlier releases, whose S3 server kept each object as a file under its key, into the store."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from rich.filesize import decimal

from deploy.local.errors import CannotRun
from libs.blobs import Blobs
from libs.errors import SlipwayError

FOLDER = "s3/slipway"
UNFINISHED = ".rclone_temp_*"  # of uploads that a killed server was receiving; never acknowledged
AT_ONCE = 4
CHUNK_BYTES = 1024 * 1024
AGAIN = "Run the same command again: it goes on where it stopped, and the folder is as it was."
SPARE_BYTES = 256 * 1024 * 1024  # left free beside the copies


class NotImported(CannotRun):
    """There are objects of an earlier release, which this one cannot read where they are."""


@dataclass(frozen=True)
class ImportableObjects:
    """The folder that an earlier release wrote, and what is in it: key -> size in bytes."""

    folder: Path
    sizes: dict[str, int]

    @property
    def size_bytes(self) -> int:
        return sum(self.sizes.values())

    def __str__(self) -> str:
        return f"{len(self.sizes):,} objects, {decimal(self.size_bytes)}"


def find_importable(data_dir: Path) -> ImportableObjects | None:
    """The objects that an earlier release left in `data_dir`; None if there are none, or they are imported already."""
    folder = data_dir / FOLDER
    if not folder.is_dir():
        return None
    return ImportableObjects(
        folder, {path.relative_to(folder).as_posix(): path.stat().st_size for path in _files(folder)}
    )


def check_importable(objects: ImportableObjects, data_dir: Path, wanted: bool) -> None:
    """Raises: NotImported if an import is not `wanted`, or there is no room for the copies."""
    if not wanted:
        raise NotImported(
            f"{objects.folder} holds the objects of an earlier release ({objects}), whose S3 server has been "
            f"replaced. Run `slipway up --data-dir {data_dir} --import-objects` once: it copies them into the new "
            f"store, checks them, and keeps the folder as {_kept(objects).name}. Nothing has been started or changed."
        )
    free = shutil.disk_usage(data_dir).free
    if free < objects.size_bytes + SPARE_BYTES:
        raise NotImported(
            f"The import copies {decimal(objects.size_bytes)}, and {data_dir} has {decimal(free)} free. Make room, "
            "or move the data directory to a larger disk. Nothing has been started or changed."
        )


async def import_objects(objects: ImportableObjects, s3_url: str, say: Callable[[str], None]) -> None:
    """Copy each object under its key, check all, then rename the folder; after an interruption, only what is missing.

    Raises: NotImported if anything fails; the folder is as it was then.
    """
    say(f"importing {objects} from {objects.folder}")
    async with Blobs.open(s3_url) as blobs:
        try:
            await _copy(objects, await _missing(objects, blobs), blobs)
            missing = await _missing(objects, blobs)
        except (SlipwayError, OSError) as error:
            raise NotImported(f"The import stopped: {error} {AGAIN}") from error
    if missing:
        raise NotImported(f"{missing[0]} and {len(missing) - 1:,} more did not arrive in the store. {AGAIN}")
    objects.folder.rename(_kept(objects))
    say(f"imported {objects}; what was there before is kept in {_kept(objects)}, which you may delete")


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in sorted(names) if not fnmatch(name, UNFINISHED))


def _kept(objects: ImportableObjects) -> Path:
    return objects.folder.with_name(f"{objects.folder.name}.imported")


async def _missing(objects: ImportableObjects, blobs: Blobs) -> list[str]:
    """The keys that the store does not have with their sizes."""
    stored = {info.key: info.size_bytes async for info in blobs.list()}
    return [key for key, size_bytes in objects.sizes.items() if stored.get(key) != size_bytes]


async def _copy(objects: ImportableObjects, keys: list[str], blobs: Blobs) -> None:
    """Store the objects `keys`, some at a time. Raises: SlipwayError; OSError; the first of them."""
    left = iter(keys)

    async def work() -> None:
        for key in left:
            await blobs.put(key, _chunks(objects.folder / key), objects.sizes[key])

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
