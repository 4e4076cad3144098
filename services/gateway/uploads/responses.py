"""What the routes of uploads respond with, made from rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import UNSET

from libs.contracts import StoredFile
from libs.web import Request, Response
from services.gateway.dependencies import Dependencies
from services.gateway.presentation import content_type, percent, timestamp
from services.gateway.uploads.ranges import missing_ranges, ranges
from services.gateway.uploads.receiving import Accepted
from services.gateway.uploads.schemas import (
    ArchiveCreated,
    Completed,
    DirectoryCreated,
    Extraction,
    FileIncomplete,
    FileReceived,
    FileSlot,
    FileState,
    ManifestFile,
    ModelFile,
    PartState,
    PartStored,
    Processing,
    Session,
)
from services.gateway.uploads.states import COMPLETED
from services.gateway.uploads.store.files import UploadFile
from services.gateway.uploads.store.parts import StoredPart
from services.gateway.uploads.store.streams import Stream
from services.gateway.uploads.store.transfers import Transfer
from services.gateway.uploads.store.uploads import Upload


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """How the files of a directory are being sent; by the number of the file, parts by stream."""

    streams: dict[int, Stream]
    parts: dict[str, list[int]]
    transfers: dict[int, Transfer]
    chunks: dict[int, list[int]]


def _base_path(request: Request[Dependencies]) -> str:
    """The project's base as a URL path."""
    return f"/{request.principal.project_id}/v1"


def _base_url(request: Request[Dependencies]) -> str:
    """The project's base as clients reach it."""
    return (request.dependencies.config.public_url or request.origin()).rstrip("/") + _base_path(request)


def _file_path(request: Request[Dependencies], upload: Upload, path: str) -> str:
    """Where one file of a directory is sent: an absolute URL path, percent-encoded."""
    return f"{_base_path(request)}/uploads/{upload.id}/files/{quote(path)}"


def upload_url(request: Request[Dependencies], upload_id: str) -> str:
    """Where an upload is shown."""
    return f"{_base_url(request)}/uploads/{upload_id}"


def archive_created(request: Request[Dependencies], upload: Upload, total_parts: int) -> ArchiveCreated:
    """Where the parts of an archive are sent."""
    return ArchiveCreated(
        session_id=upload.id,
        upload_url=f"{_base_url(request)}/uploads/{upload.id}/chunks",
        chunk_size=upload.chunk_size_bytes,
        total_chunks=total_parts,
        expires_at=timestamp(upload.expires_at),
        model_id=upload.model_id,
        model_name=upload.model_name,
        version=upload.model_version,
    )


def directory_created(request: Request[Dependencies], upload: Upload, slots: list[FileSlot]) -> DirectoryCreated:
    """Where the files of a directory are sent."""
    return DirectoryCreated(
        session_id=upload.id,
        upload_url=f"{_base_url(request)}/uploads/{upload.id}/files",
        files=slots,
        expires_at=timestamp(upload.expires_at),
        model_id=upload.model_id,
        model_name=upload.model_name,
        version=upload.model_version,
    )


def file_slots(
    request: Request[Dependencies],
    upload: Upload,
    announced: Sequence[ManifestFile],
    manifest: Sequence[UploadFile],
    known_sizes: Collection[int],
) -> list[FileSlot]:
    """Where each file of a manifest goes, under the name that its client knows it by, in whatever Unicode form."""
    return [
        FileSlot(
            relative_path=as_sent.relative_path,
            upload_path=_file_path(request, upload, file.path),
            size=file.size_bytes,
            present=file.present,
            known_size=file.size_bytes in known_sizes,
        )
        for as_sent, file in zip(announced, manifest, strict=True)
    ]


def part_stored(upload: Upload, archive: Stream, number: int, accepted: Accepted) -> PartStored:
    """The part counts."""
    return PartStored(
        session_id=upload.id,
        part_number=number,
        size=accepted.size_bytes,
        checksum=accepted.sha256,
        uploaded_chunks=archive.parts_stored,
        total_chunks=archive.total_parts,
        progress=percent(archive.bytes_stored, archive.size_bytes),
    )


def file_received(file: UploadFile, sha256: str | None, counts: tuple[int, int], crc32: str | None) -> FileReceived:
    """The file counts; `counts`: files of the upload that have arrived, and all."""
    arrived, expected = counts
    return FileReceived(
        relative_path=file.path,
        size=file.size_bytes,
        checksum=sha256,
        uploaded_file_count=arrived,
        expected_file_count=expected,
        progress=percent(arrived, expected),
        crc32=UNSET if crc32 is None else crc32,
    )


def chunk_received(
    file: UploadFile, number: int, part_count: int, accepted: Accepted, counts: tuple[int, int]
) -> FileReceived:
    """The chunk of a file counts; `counts` as of `file_received`."""
    whole = file_received(file, accepted.sha256, counts, accepted.crc32)
    return msgspec.structs.replace(whole, size=accepted.size_bytes, part_number=number, part_count=part_count)


def file_incomplete(file: UploadFile, held_bytes: int, crc32: str | None) -> Response:
    """308, with the header `Range` where something is held: how much of the file is."""
    body = FileIncomplete(relative_path=file.path, size=file.size_bytes, held_bytes=held_bytes, crc32=crc32)
    headers = {"Range": f"bytes=0-{held_bytes - 1}"} if held_bytes else {}
    return Response(body, status=308, headers=headers)


def processing(request: Request[Dependencies], upload: Upload, streams: Sequence[Stream]) -> Response:
    """202: the upload is still being unpacked, and where to look."""
    body = Processing(
        session_id=upload.id,
        model_id=upload.model_id,
        model_name=upload.model_name,
        version=upload.model_version,
        waiting_for=waiting_for(streams),
    )
    return Response(body, status=202, headers={"Location": upload_url(request, upload.id), "Retry-After": "2"})


def completed(upload: Upload, streams: Sequence[Stream], files: Sequence[StoredFile]) -> Completed:
    """The documented answer of complete."""
    return Completed(
        model_id=upload.model_id,
        model_name=upload.model_name,
        version=upload.model_version,
        file_count=len(files),
        total_size=sum(file.size_bytes for file in files),
        files=[
            ModelFile(
                relative_path=file.path,
                size=file.size_bytes,
                content_type=content_type(file.path),
                sha256=file.sha256,
            )
            for file in files
        ],
        stripped_prefix=next((stream.stripped_prefix for stream in streams if stream.stripped_prefix), None),
        dropped=[name for stream in streams for name in stream.dropped],
    )


def waiting_for(streams: Sequence[Stream]) -> str | None:
    """Why an upload is parked, if any of its streams is."""
    return next((stream.waiting_for for stream in streams if stream.waiting_for and not stream.unpacked), None)


def show_upload(
    request: Request[Dependencies],
    upload: Upload,
    streams: Sequence[Stream],
    *,
    counts: tuple[int, int] = (0, 0),
    parts: Sequence[StoredPart] | None = None,
    files: list[FileState] | None = None,
    source: str | None = None,
) -> Session:
    """An upload as GET uploads shows it; with `parts` (archive) or `files` (directory, import) in full."""
    about: dict[str, Any] = {
        "session_id": upload.id,
        "model_id": upload.model_id,
        "model_name": upload.model_name,
        "version": upload.model_version,
        "status": upload.status,
        "created_at": timestamp(upload.created_at),
        "expires_at": timestamp(upload.expires_at),
        "extraction": _extraction(streams),
        "error": upload.error,
        "waiting_for": waiting_for(streams),
    }
    if upload.kind == "archive":
        [archive] = streams
        return _archive(f"{_base_url(request)}/uploads/{upload.id}/chunks", upload, archive, parts, about)
    arrived, expected = counts
    shown: dict[str, Any] = {} if files is None else {"files": files}
    is_import = upload.kind == "import"
    return Session(
        kind=upload.kind,
        upload_url=f"{_base_url(request)}/uploads/{upload.id}/files",
        progress=_copied(streams, upload) if is_import else percent(arrived, expected),
        source=UNSET if source is None else source,
        uploaded_file_count=arrived,
        expected_file_count=expected,
        **shown,
        **about,
    )


def _copied(streams: Sequence[Stream], upload: Upload) -> float:
    """The percentage of an import's bytes that are copied; the streams of what ended long ago are gone."""
    if upload.status == COMPLETED:
        return 100.0
    return percent(sum(stream.bytes_out for stream in streams), sum(stream.size_bytes for stream in streams))


def _extraction(streams: Sequence[Stream]) -> Extraction:
    return Extraction(
        parts_done=sum(stream.parts_done for stream in streams),
        members=sum(stream.members for stream in streams),
        bytes=sum(stream.bytes_out for stream in streams),
    )


def _archive(
    upload_url: str, upload: Upload, archive: Stream, parts: Sequence[StoredPart] | None, about: dict[str, Any]
) -> Session:
    shown: dict[str, Any] = {}
    if parts is not None:
        numbers = [part.number for part in parts]
        shown = {
            "received": ranges(numbers),
            "missing": missing_ranges(numbers, archive.total_parts),
            "parts": [PartState(part_number=p.number, size=p.size_bytes, checksum=p.sha256) for p in parts],
        }
    return Session(
        kind="archive",
        upload_url=upload_url,
        progress=percent(archive.bytes_stored, archive.size_bytes),
        archive_format=archive.format,
        archive_size=archive.size_bytes,
        chunk_size=upload.chunk_size_bytes,
        uploaded_chunks=archive.parts_stored,
        total_chunks=archive.total_parts,
        **shown,
        **about,
    )


def file_states(
    request: Request[Dependencies], upload: Upload, files: Sequence[UploadFile], sent: Sent
) -> list[FileState]:
    """Every file of a directory, and how much of it has arrived."""
    return [_file_state(request, upload, file, sent) for file in files]


def _file_state(request: Request[Dependencies], upload: Upload, file: UploadFile, sent: Sent) -> FileState:
    stream, transfer = sent.streams.get(file.number), sent.transfers.get(file.number)
    about: dict[str, Any] = {
        "relative_path": file.path,
        "size": file.size_bytes,
        "upload_path": _file_path(request, upload, file.path),
        "sha256": file.sha256 or file.declared_sha256,
        "reason": file.refused,
    }
    if file.present:
        return FileState(status="present", **about)
    if stream is not None and stream.format == "remote" and file.key is None:
        status: Literal["partial", "missing"] = "partial" if stream.bytes_out else "missing"
        return FileState(status=status, held_bytes=stream.bytes_out or None, **about)
    if stream is not None and stream.format == "raw":
        numbers = sent.parts.get(stream.id, [])
        return _in_chunks(numbers, stream.total_parts, whole=stream.complete, about=about)
    if transfer is not None and transfer.part_count is not None:
        return _in_chunks(sent.chunks.get(file.number, []), transfer.part_count, whole=False, about=about)
    if transfer is not None and transfer.held_bytes:
        return FileState(status="partial", held_bytes=transfer.held_bytes, **about)
    return FileState(status="received" if file.key or stream else "missing", **about)


def _in_chunks(numbers: list[int], count: int, *, whole: bool, about: dict[str, Any]) -> FileState:
    return FileState(
        status="received" if whole else "partial",
        part_count=count,
        received=ranges(numbers),
        missing=missing_ranges(numbers, count),
        **about,
    )
