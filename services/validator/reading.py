"""Reads of a model what the rules look at: headers, and files that are small or have something to say.

The readers of libs.modelfiles ask for ranges; here they are fetched, counted, and fed to them. Nothing that a user
uploaded is imported, unpickled or run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import msgspec

from libs.contracts import StoredFile
from libs.errors import ObjectNotFound, Unavailable
from libs.modelfiles import gguf, hfconfig, index, quantization, safetensors, torchfile, weights
from libs.modelfiles.ranges import Range, Reader
from libs.modelfiles.unreadable import Unreadable
from services.validator import frontmatter, inspection, pieces
from services.validator.inspection import Inspection
from services.validator.pieces import MAX_READ_BYTES, Broken, Piece, Reading

T = TypeVar("T")

SMALL_BYTES = 64 * 1024  # a file up to this is read whole, in one request
_TINY_BYTES = 1024  # a file of weights up to this: a pointer of Git LFS, most likely
_WITH_HEADER = (".safetensors", ".gguf")
_INLINE_BYTES = 256 * 1024  # what is parsed without a thread
_HEAVY_BYTES = 8 * 1024 * 1024  # what is fetched and parsed by one at a time in this process
_SLOWEST_BYTES_S = 1024 * 1024  # what a request for many bytes is given time for
MAX_PATIENCE_S = 60.0
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

    async def inspect(
        self,
        files: Sequence[StoredFile],
        known: Mapping[Reading, Piece] = MappingProxyType({}),
        *,
        patience_s: float = MAX_PATIENCE_S,
    ) -> Inspection:
        """Read what the rules need of `files`, but of those that are `known`; what occurs twice is read once.

        `patience_s`: how long one request may take, beside what its bytes take.
        Raises: ObjectNotFound, naming the file; Unavailable.
        """
        found = inspection.empty({file.path: file.size_bytes for file in files})
        alike: dict[Reading, list[StoredFile]] = {}
        for file in files:
            alike.setdefault(reading_of(file), []).append(file)
        try:
            async with asyncio.TaskGroup() as tasks:
                for reading, same in alike.items():
                    if reading in known:
                        _take_all(found, same, known[reading])
                    else:
                        tasks.create_task(self._look_into(reading, same, found, patience_s))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return found

    async def _look_into(
        self, reading: Reading, same: Sequence[StoredFile], found: Inspection, patience_s: float
    ) -> None:
        source = _Source(self, same[0], patience_s)
        piece = await _read(source, same[0])
        found.files_read += bool(source.bytes_read)
        found.bytes_read += source.bytes_read
        if source.bytes_read <= MAX_READ_BYTES and (raw := pieces.encode(piece)) is not None:
            found.fresh[reading] = raw
        _take_all(found, same, piece)

    async def fetch(self, file: StoredFile, wanted: Range, patience_s: float) -> bytes:
        """One range of `file`, whole.

        Raises: ObjectNotFound; Unavailable, also if storage has less than that of the file, or takes too long.
        """
        async with self._requests:
            try:
                async with asyncio.timeout(patience_s + wanted.length / _SLOWEST_BYTES_S):
                    content = await self._storage.read(file.key, wanted.start, wanted.length)
            except TimeoutError:
                raise Unavailable(f"{file.path}: object storage did not answer within {patience_s:g} s.") from None
            except ObjectNotFound:
                raise ObjectNotFound(f"{file.path}: its object is not in storage.") from None
            except Unavailable as error:
                raise Unavailable(f"{file.path}: {error}") from error
        if len(content) < wanted.length:
            raise Unavailable(f"{file.path}: storage ends at byte {wanted.start + len(content)} of {file.size_bytes}.")
        return content

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

    def __init__(self, reader: ModelReader, file: StoredFile, patience_s: float) -> None:
        self._reader = reader
        self._file = file
        self._patience_s = patience_s
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
        content = await self._reader.fetch(self._file, wanted, self._patience_s) if wanted.length > 0 else b""
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


def reading_of(file: StoredFile) -> Reading:
    """How `file` is read, which its name and size decide."""
    return Reading(file.sha256, file.size_bytes, _kind(file.path))


def _kind(path: str) -> str:
    if path.endswith(_WITH_HEADER):
        return path.rpartition(".")[2]
    kind = f"document of {_DOCUMENTS[path]}" if path in _DOCUMENTS else "file"
    return f"{kind}, pickle by name" if path.endswith(torchfile.PICKLE_SUFFIXES) else kind


async def _read(source: _Source, file: StoredFile) -> Piece:
    """Read one file as its kind demands. Raises: ObjectNotFound; Unavailable."""
    piece = Piece()
    name = file.path.rpartition("/")[2]
    if file.size_bytes <= (_TINY_BYTES if name.endswith(_WITH_HEADER) else SMALL_BYTES):
        await source.load(file.size_bytes)
    if source.begins_with(_LFS_POINTER):
        piece.broken = _LFS
    elif name.endswith(_WITH_HEADER):
        await _read_header(source, file, piece)
    elif file.path in _DOCUMENTS:
        piece.document = await source.load(_DOCUMENTS[file.path])
    scanned = file.size_bytes > 0 or name.endswith(torchfile.PICKLE_SUFFIXES)  # an empty pytorch_model.bin is none
    if scanned and piece.header is None and piece.gguf is None:
        piece.scan = await source.drive(torchfile.scan_file(file.size_bytes, name))
    return piece


async def _read_header(source: _Source, file: StoredFile, piece: Piece) -> None:
    try:
        if file.path.endswith(".gguf"):
            piece.gguf = await source.drive(gguf.read_header(file.size_bytes))
        else:
            piece.header = await source.drive(safetensors.read_header(file.size_bytes))
    except Unreadable as error:
        piece.broken = Broken.of(error)


def _take_all(found: Inspection, same: Sequence[StoredFile], piece: Piece) -> None:
    for file in same:
        found.take(file.path, piece)


_LFS = Broken(
    "lfs-pointer",
    "This is a pointer of Git LFS, not the file that it stands for.",
    "Run `git lfs pull` in the repository and upload what it fetches.",
    0,
)
