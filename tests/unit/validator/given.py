"""A model's files in memory, inspected and judged."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping

from libs.contracts import Report, StoredFile
from services.validator.inspection import Inspection
from services.validator.judging import judge
from services.validator.reading import ModelReader


class MemoryStorage:
    """Storage that notes what is read of it: (key, start, length)."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.reads: list[tuple[str, int, int]] = []
        self._files = files

    async def read(self, key: str, start: int, length: int) -> bytes:
        self.reads.append((key, start, length))
        await asyncio.sleep(0)
        return self._files[key][start : start + length]


def stored(files: Mapping[str, bytes]) -> list[StoredFile]:
    """The files as the registry knows them; the key is the path."""
    return [
        StoredFile(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), key=path)
        for path, content in files.items()
    ]


async def inspected(files: Mapping[str, bytes]) -> Inspection:
    """What the validator reads of the files."""
    return await ModelReader(MemoryStorage(files), requests=4).inspect(stored(files))


async def judged(files: Mapping[str, bytes]) -> Report:
    """The validator's verdict on the files."""
    return judge(await inspected(files))
