"""Uploads that tests begin with: of an archive, of a large file, of a file in chunks; and reports of the extractor."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import msgspec

from libs.contracts import ArchiveExtracted, StoredFile, StreamProgress, UploadOpened
from libs.db import connection
from services.gateway.uploads.part_sizes import of_stream
from services.gateway.uploads.progress import Progress
from tests.integration.gateway.harness import CHUNK, FILES, NOON, Uploads, part

MIB = 1024 * 1024
PART = of_stream(1)  # of a file of any size here
FILE = "model.safetensors"


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


async def given_session(uploads: Uploads, data: bytes, **more: str) -> str:
    """A directory of config.json, which is sent, and one file of this content."""
    opened = await uploads.open_directory({"config.json": b"{}", FILE: data}, **more)
    session: str = opened["session_id"]
    await uploads.send_file(session, "config.json", b"{}")
    return session


async def stored_key(uploads: Uploads, session: str) -> str | None:
    async with connection(uploads.pool) as tx:
        key: str | None = await tx.fetchval(
            "SELECT key FROM upload_file WHERE upload_id = $1 AND path = $2", session, FILE
        )
        return key


async def key_of_file(uploads: Uploads, session: str) -> str:
    """The object of the file, whether its sha256 is known or still to be read."""
    opened = await uploads.emitted(UploadOpened)
    key = opened[-1].stream.key if opened else await stored_key(uploads, session)
    assert key is not None
    return key


def hashed(session: str, opened: UploadOpened, data: bytes) -> ArchiveExtracted:
    """The extractor's word on a file that it read."""
    stream = opened.stream
    file = StoredFile(path=stream.path or "", size_bytes=len(data), sha256=sha256_of(data), key=stream.key or "")
    return ArchiveExtracted(upload_id=session, stream_id=stream.id, files=[file], at=NOON)


def span(start: int, end: int, total: int) -> str:
    return f"{start}-{end - 1}/{total}"


async def given_archive(uploads: Uploads, **more: Any) -> str:
    session: str = (await uploads.open_archive(2 * CHUNK, **more))["session_id"]
    for number in range(2):
        await uploads.send_part(session, number, part(number))
    return session


async def given_chunks(uploads: Uploads, **more: Any) -> str:
    session: str = (await uploads.open_directory(FILES, **more))["session_id"]
    await uploads.send_file(session, "config.json", FILES["config.json"])
    await send_chunks(uploads, session)
    return session


async def send_chunks(uploads: Uploads, session: str) -> None:
    weights = FILES["model.safetensors"]
    for number, chunk in enumerate((weights[:300], weights[300:])):
        await uploads.send_file(session, f"model.safetensors?part_count=2&part_number={number}", chunk)


def progress_of(session: str, *, known: int, done: int) -> StreamProgress:
    return StreamProgress(
        upload_id=session, stream_id=f"{session}-0", parts_known=known, parts_done=done, members=1, bytes_out=1
    )


async def report_progress(uploads: Uploads, session: str, *, known: int, done: int) -> None:
    progress = Progress(uploads.pool)
    await progress.receive(msgspec.json.encode([progress_of(session, known=known, done=done)]))
    await progress.write()
