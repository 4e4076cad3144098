"""Reads of a model what the rules look at: headers, and files that are small or have something to say.

The readers of libs.modelfiles ask for ranges; here they are fetched, counted, and fed to them. Nothing that a user
uploaded is imported, unpickled or run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec

from libs.contracts import StoredFile
from libs.modelfiles import frontmatter, gguf, hfconfig, index, quantization, safetensors, torchfile, weights
from libs.modelfiles.ranges import Range, Reader
from libs.modelfiles.unreadable import Unreadable
from services.validator import inspection
from services.validator.inspection import Inspection

T = TypeVar("T")

SMALL_BYTES = 64 * 1024  # a file up to this is read whole, in one request
_TINY_BYTES = 1024  # a file of weights up to this: a pointer of Git LFS, most likely
_WITH_HEADER = (".safetensors", ".gguf")
_INLINE_BYTES = 256 * 1024  # what is parsed without a thread
_HEAVY_BYTES = 8 * 1024 * 1024  # what is fetched and parsed by one at a time in this process
_MAX_TENSORS = 1_000_000  # of one model; a mixture of 384 experts in 61 layers has a fifth of that
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"

# Files that the rules read, and how much of them
_DOCUMENTS = {
    weights.CONFIG: hfconfig.MAX_CONFIG_BYTES,
    weights.MISTRAL_CONFIG: hfconfig.MAX_CONFIG_BYTES,
    weights.INDEX: index.MAX_INDEX_BYTES,
    weights.MISTRAL_INDEX: index.MAX_INDEX_BYTES,
    weights.PYTORCH_INDEX: index.MAX_INDEX_BYTES,
    quantization.HF_QUANT_CONFIG: hfconfig.MAX_CONFIG_BYTES,
    "generation_config.json": 1024 * 1024,
    "tokenizer_config.json": 8 * 1024 * 1024,
    "chat_template.jinja": 1024 * 1024,
    "modules.json": 1024 * 1024,
    "sentence_bert_config.json": 1024 * 1024,
    "README.md": frontmatter.MAX_BYTES,
    "LICENSE": 4096,
    "LICENSE.txt": 4096,
    "LICENSE.md": 4096,
}


class Ranges(Protocol):
    """Where bytes come from: libs.blobs.Blobs."""

    async def read(self, key: str, start: int, length: int) -> bytes:
        """A range; shorter where the object ends. Raises: ObjectNotFound; Unavailable."""


class ModelReader:
    """Inspects models, a bounded number of requests at a time."""

    def __init__(self, storage: Ranges, requests: int) -> None:
        """`requests`: how many ranges are fetched at a time, over all models."""
        self._storage = storage
        self._requests = asyncio.Semaphore(requests)
        self._heavy = asyncio.Lock()

    async def inspect(self, files: Sequence[StoredFile]) -> Inspection:
        """Read what the rules need of `files`.

        Raises: ObjectNotFound; Unavailable.
        """
        found = inspection.empty({file.path: file.size_bytes for file in files})
        try:
            async with asyncio.TaskGroup() as tasks:
                for file in files:
                    tasks.create_task(self._look_into(file, found))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return found

    async def _look_into(self, file: StoredFile, found: Inspection) -> None:
        source = _Source(self, file)
        name = file.path.rpartition("/")[2]
        if file.size_bytes <= (_TINY_BYTES if name.endswith(_WITH_HEADER) else SMALL_BYTES):
            await source.load(file.size_bytes)
        if source.begins_with(_LFS_POINTER):
            found.unreadable[file.path] = _lfs_pointer()
        elif name.endswith(".gguf"):
            await _keep(found.ggufs, found.unreadable, file, source.drive(gguf.read_header(file.size_bytes)))
        elif name.endswith(".safetensors"):
            header = source.drive(safetensors.read_header(file.size_bytes))
            await _keep(found.headers, found.unreadable, file, header)
            _limit_tensors(found, file.path)
        elif file.path in _DOCUMENTS:
            found.documents[file.path] = await source.load(_DOCUMENTS[file.path])
        scanned = file.size_bytes > 0 or name.endswith(torchfile.PICKLE_SUFFIXES)  # an empty pytorch_model.bin is none
        if scanned and file.path not in found.headers and file.path not in found.ggufs:
            found.pickles[file.path] = await source.drive(torchfile.scan_file(file.size_bytes, name))
        found.files_read += bool(source.bytes_read)
        found.bytes_read += source.bytes_read

    async def fetch(self, file: StoredFile, start: int, length: int) -> bytes:
        """One range of `file`."""
        async with self._requests:
            return await self._storage.read(file.key, start, length)

    @asynccontextmanager
    async def alone_if_heavy(self, size_bytes: int) -> AsyncIterator[None]:
        """Fetch and parse `size_bytes` within this: very many bytes one file at a time, since a header of 100 MB
        becomes several hundred MB of objects."""
        async with self._heavy if size_bytes >= _HEAVY_BYTES else nullcontext():
            yield

    async def compute(self, size_bytes: int, work: Callable[[], T]) -> T:
        """Do `work` on `size_bytes`: at once if they are few, else in a thread."""
        return work() if size_bytes < _INLINE_BYTES else await asyncio.to_thread(work)


class _Source:
    """One file, read by ranges; what is read twice is fetched once where it is small."""

    def __init__(self, reader: ModelReader, file: StoredFile) -> None:
        self._reader = reader
        self._file = file
        self._front = b""  # what is known of the file's beginning
        self.bytes_read = 0

    async def load(self, limit: int) -> bytes:
        """The file's first `limit` bytes."""
        wanted = min(limit, self._file.size_bytes)
        if len(self._front) < wanted:
            self._front = await self._fetch(Range(0, wanted))
        return self._front

    def begins_with(self, prefix: bytes) -> bool:
        """Whether what is loaded begins so."""
        return self._front.startswith(prefix)

    async def drive(self, reader: Reader[T]) -> T:
        """Feed `reader` until it is done. Raises: whatever it raises."""
        step = _advance(reader, None)
        while not isinstance(step, _Done):
            async with self._reader.alone_if_heavy(step.length):
                chunk = await self._range(step)
                step = await self._reader.compute(len(chunk), partial(_advance, reader, chunk))
        result: T = step.result
        return result

    async def _range(self, wanted: Range) -> bytes:
        end = min(wanted.start + wanted.length, self._file.size_bytes)
        if end <= len(self._front):
            return self._front[wanted.start : end]
        return await self._fetch(Range(wanted.start, end - wanted.start))

    async def _fetch(self, wanted: Range) -> bytes:
        content = await self._reader.fetch(self._file, wanted.start, wanted.length) if wanted.length > 0 else b""
        self.bytes_read += len(content)
        return content


class _Done(msgspec.Struct, frozen=True):
    """What a reader returned; a StopIteration does not travel through futures."""

    result: Any


def _advance(reader: Reader[T], chunk: bytes | None) -> Range | _Done:
    try:
        return next(reader) if chunk is None else reader.send(chunk)
    except StopIteration as end:
        return _Done(end.value)


async def _keep(
    kept: dict[str, T], unreadable: dict[str, Unreadable], file: StoredFile, reading: Coroutine[None, None, T]
) -> None:
    """Note what `reading` finds in `file`, or why it cannot be read."""
    try:
        kept[file.path] = await reading
    except Unreadable as error:
        unreadable[file.path] = error


def _limit_tensors(found: Inspection, path: str) -> None:
    """Keep the header of `path` only while all of them together fit into memory."""
    if path in found.headers and sum(len(header.tensors) for header in found.headers.values()) > _MAX_TENSORS:
        del found.headers[path]
        found.unreadable[path] = Unreadable(
            "model-too-many-tensors",
            f"With this file the model has more than {_MAX_TENSORS:,} tensors, which is as many as are read.",
            "Merge tensors that belong together, as the experts of a layer.",
        )


def _lfs_pointer() -> Unreadable:
    return Unreadable(
        "lfs-pointer",
        "This is a pointer of Git LFS, not the file that it stands for.",
        "Run `git lfs pull` in the repository and upload what it fetches.",
        0,
    )
