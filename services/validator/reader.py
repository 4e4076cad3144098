"""Reads what the rules need of a model: headers by range, and small files.

The readers of libs.modelfiles ask for ranges; this module fetches them, counts them, and feeds them to the readers.
Nothing that a user uploaded is imported, unpickled or run.
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
from services.validator import facts, frontmatter
from services.validator.facts import MAX_READ_BYTES, FactsKey, FileFacts, FormatError, ModelFacts

T = TypeVar("T")

SMALL_BYTES = 64 * 1024  # a file up to this is read whole, in one request
_TINY_BYTES = 1024  # a file of weights up to this: a pointer of Git LFS, most likely
_WITH_HEADER = (".safetensors", ".gguf")
_INLINE_BYTES = 256 * 1024  # what is parsed without a thread
_HEAVY_BYTES = 8 * 1024 * 1024  # what is fetched and parsed by one at a time in this process
_SLOWEST_BYTES_S = 1024 * 1024  # what a request for many bytes is given time for
MAX_PATIENCE_S = 60.0
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"

# Files whose content the rules look at, and how many bytes of each are read
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
    """Where bytes are read from: libs.blobs.Blobs."""

    async def read(self, key: str, start: int, length: int) -> bytes:
        """Return a range of an object, shorter where the object ends. Raises: ObjectNotFound; Unavailable."""


class ModelReader:
    """Reads models, with a bounded number of requests at a time."""

    def __init__(self, storage: Ranges, requests: int) -> None:
        """`requests`: how many ranges are fetched at a time, over all models."""
        self._storage = storage
        self._requests = asyncio.Semaphore(requests)
        self._heavy = asyncio.Lock()

    async def read_model(
        self,
        files: Sequence[StoredFile],
        known: Mapping[FactsKey, FileFacts] = MappingProxyType({}),
        *,
        patience_s: float = MAX_PATIENCE_S,
    ) -> ModelFacts:
        """Read what the rules need of `files`, except for those whose facts are `known`; equal files are read once.

        `patience_s`: the timeout of one request, in addition to the time that its bytes take.
        Raises: ObjectNotFound, naming the file; Unavailable.
        """
        gathered = ModelFacts(sizes={file.path: file.size_bytes for file in files})
        equal_files: dict[FactsKey, list[StoredFile]] = {}
        for file in files:
            equal_files.setdefault(facts_key(file), []).append(file)
        try:
            async with asyncio.TaskGroup() as tasks:
                for key, equal in equal_files.items():
                    if key in known:
                        _add_all(gathered, equal, known[key])
                    else:
                        tasks.create_task(self._read_new(key, equal, gathered, patience_s))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return gathered

    async def _read_new(
        self, key: FactsKey, equal: Sequence[StoredFile], gathered: ModelFacts, patience_s: float
    ) -> None:
        source = _Source(self, equal[0], patience_s)
        of_file = await _read(source, equal[0])
        gathered.files_read += bool(source.bytes_read)
        gathered.bytes_read += source.bytes_read
        if source.bytes_read <= MAX_READ_BYTES and (raw := facts.encode(of_file)) is not None:
            gathered.new[key] = raw
        _add_all(gathered, equal, of_file)

    async def fetch(self, file: StoredFile, wanted: Range, patience_s: float) -> bytes:
        """Return one range of `file`, whole.

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
        """Fetch and parse `size_bytes` within this context: many bytes only one file at a time.

        A header of 100 MB becomes several hundred MB of objects.
        """
        async with self._heavy if size_bytes >= _HEAVY_BYTES else nullcontext():
            yield

    async def compute(self, size_bytes: int, work: Callable[[], T]) -> T:
        """Run `work`, which handles `size_bytes`: in a thread, unless they are few."""
        return work() if size_bytes < _INLINE_BYTES else await asyncio.to_thread(work)


class _Source:
    """One file, read by ranges; its beginning is fetched once."""

    def __init__(self, reader: ModelReader, file: StoredFile, patience_s: float) -> None:
        self._reader = reader
        self._file = file
        self._patience_s = patience_s
        self._front = b""  # the beginning of the file, as far as it was fetched
        self.bytes_read = 0

    async def load(self, limit: int) -> bytes:
        """Return the first `limit` bytes of the file."""
        wanted = min(limit, self._file.size_bytes)
        if len(self._front) < wanted:
            self._front = await self._fetch(Range(0, wanted))
        return self._front

    def begins_with(self, prefix: bytes) -> bool:
        """Whether the loaded bytes begin with `prefix`."""
        return self._front.startswith(prefix)

    async def drive(self, reader: Reader[T]) -> T:
        """Feed `reader` until it is done. Raises what it raises."""
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
    """What a reader returned; a StopIteration cannot be raised through a future."""

    result: Any


def _advance(reader: Reader[T], chunk: bytes | None) -> Range | _Done:
    try:
        return next(reader) if chunk is None else reader.send(chunk)
    except StopIteration as end:
        return _Done(end.value)


def facts_key(file: StoredFile) -> FactsKey:
    """Which bytes `file` has, and how they are read, which its name and size decide."""
    return FactsKey(file.sha256, file.size_bytes, _kind(file.path))


def _kind(path: str) -> str:
    if path.endswith(_WITH_HEADER):
        return path.rpartition(".")[2]
    kind = f"document of {_DOCUMENTS[path]}" if path in _DOCUMENTS else "file"
    return f"{kind}, pickle by name" if path.endswith(torchfile.PICKLE_SUFFIXES) else kind


async def _read(source: _Source, file: StoredFile) -> FileFacts:
    """Read one file in the way of its kind. Raises: ObjectNotFound; Unavailable."""
    read = FileFacts()
    name = file.path.rpartition("/")[2]
    if file.size_bytes <= (_TINY_BYTES if name.endswith(_WITH_HEADER) else SMALL_BYTES):
        await source.load(file.size_bytes)
    if source.begins_with(_LFS_POINTER):
        read.broken = _LFS
    elif name.endswith(_WITH_HEADER):
        await _read_header(source, file, read)
    elif file.path in _DOCUMENTS:
        read.document = await source.load(_DOCUMENTS[file.path])
    scanned = file.size_bytes > 0 or name.endswith(torchfile.PICKLE_SUFFIXES)  # an empty pytorch_model.bin is none
    if scanned and read.header is None and read.gguf is None:
        read.scan = await source.drive(torchfile.scan_file(file.size_bytes, name))
    return read


async def _read_header(source: _Source, file: StoredFile, read: FileFacts) -> None:
    try:
        if file.path.endswith(".gguf"):
            read.gguf = await source.drive(gguf.read_header(file.size_bytes))
        else:
            read.header = await source.drive(safetensors.read_header(file.size_bytes))
    except Unreadable as error:
        read.broken = FormatError.of(error)


def _add_all(gathered: ModelFacts, equal: Sequence[StoredFile], of_file: FileFacts) -> None:
    for file in equal:
        gathered.add(file.path, of_file)


_LFS = FormatError(
    "lfs-pointer",
    "This is a pointer of Git LFS, not the file that it stands for.",
    "Run `git lfs pull` in the repository and upload what it fetches.",
    0,
)
