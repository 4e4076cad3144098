"""The files of a model in memory, as the validator reads them, and its report on them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping

from libs.contracts import Report, StoredFile, ValidationOptions
from services.validator.facts import ModelFacts
from services.validator.reader import ModelReader
from services.validator.report import AS_ANY, build_report


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


async def read(files: Mapping[str, bytes]) -> ModelFacts:
    """What the validator reads of the files."""
    return await ModelReader(MemoryStorage(files), requests=4).read_model(stored(files))


async def reported(files: Mapping[str, bytes], options: ValidationOptions = AS_ANY) -> Report:
    """The validator's report on the files."""
    facts = await read(files)
    return build_report(facts.model(), files_read=facts.files_read, bytes_read=facts.bytes_read, options=options)
