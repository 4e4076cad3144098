"""A small Slipway in memory, written from the documentation of the API alone, with faults to order.

It stores bytes and checks checksums; it does not unpack, and finds every model ready unless told otherwise.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.integration.cli.admin import FakeAdmin
from tests.integration.cli.described import archive_state, directory_state, model_document

PROJECT = "proj_TEST01"
KEY = "xero_test_0123456789"
OPERATOR_KEY = "op_0123456789"
EXPIRES = "2030-01-01T00:00:00Z"


@dataclass
class Upload:
    """One session; `stored` maps (path, part number) to bytes, an archive's path being ""."""

    id: str
    kind: str
    name: str
    wanted: dict[str, Any]
    chunk_size: int
    status: str = "open"
    stored: dict[tuple[str, int], bytes] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    present: set[str] = field(default_factory=set)
    held: dict[str, bytearray] = field(default_factory=dict)  # of files that are sent as streams, and not whole yet
    key: str | None = None  # Idempotency-Key
    waiting_for: str | None = None

    @property
    def total_chunks(self) -> int:
        return -(-self.wanted["archive_size"] // self.chunk_size)


@dataclass
class Fault:
    """What happens to the next `times` requests whose path matches, once `after` of them have passed."""

    path: str
    answer: Callable[[web.Request], web.StreamResponse]
    times: int
    after: int


class FakeSlipway:
    """The state of the server, and what the tests ask of it."""

    def __init__(self) -> None:
        self.base_url = ""
        self.chunk_size = 1000
        self.uploads: dict[str, Upload] = {}
        self.requests: list[tuple[str, str]] = []
        self.has: set[str] = set()  # sha256 of the files that the project has
        self.findings: list[dict[str, Any]] = []
        self.processing_rounds = 0  # how often complete answers 202
        self.admin = FakeAdmin(KEY)
        self.part_arrived = asyncio.Event()
        self.on_expect: Callable[[web.Request], Awaitable[None]] = say_continue
        self.ranges = True  # whether it knows Content-Range
        self.claims: dict[str, Any] = {}  # what it says of a whole file, true or not
        self.held_part_bytes = 1  # of a stream that breaks, it keeps a multiple of this
        self.break_after: list[int] = []  # streams break after so many bytes of their body, in this order
        self.sizes: set[int] = set()  # that the project stores, beside those of `has`
        self._faults: list[Fault] = []
        self._lost: list[str] = []
        self._asked = asyncio.Event()

    def fail(
        self, path: str, answer: Callable[[web.Request], web.StreamResponse], *, times: int = 1, after: int = 0
    ) -> None:
        self._faults.append(Fault(path, answer, times, after))

    def lose_answer(self, path: str) -> None:
        """The next request whose path matches is done, and its answer never arrives."""
        self._lost.append(path)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return as soon as the requests so far satisfy `holds`."""
        async with asyncio.timeout(60):
            while not holds():
                self._asked.clear()
                await self._asked.wait()

    def sent(self, pattern: str) -> list[str]:
        """The requests, as "METHOD path?query", that match."""
        lines = [f"{method} {path}" for method, path in self.requests]
        return [line for line in lines if re.search(pattern, line)]

    def content(self, upload: Upload, path: str = "") -> bytes:
        """What was stored under `path`, its parts in order."""
        return b"".join(upload.stored[key] for key in sorted(upload.stored) if key[0] == path)

    # routes

    async def open_archive(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        upload = self._add(request, Upload("", "archive", wanted["model_name"], wanted, self.chunk_size))
        return web.json_response(
            {
                "session_id": upload.id,
                "upload_url": f"{self.base_url}/uploads/{upload.id}/chunks",
                "chunk_size": upload.chunk_size,
                "total_chunks": upload.total_chunks,
                "expires_at": EXPIRES,
                "model_id": f"m-{upload.id}",
                "version": "1.0.0",
            }
        )

    async def open_directory(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        upload = self._add(request, Upload("", "directory", wanted["model_name"], wanted, 0))
        upload.present = {file["relative_path"] for file in wanted["files"] if file.get("sha256") in self.has}
        return web.json_response(
            {
                "session_id": upload.id,
                "upload_url": f"{self.base_url}/uploads/{upload.id}/files",
                "files": [
                    {
                        "relative_path": file["relative_path"],
                        "size": file["size"],
                        "upload_path": "/…",
                        "present": file["relative_path"] in upload.present,
                        "known_size": file["size"] in self.sizes,
                    }
                    for file in wanted["files"]
                ],
                "expires_at": EXPIRES,
                "model_id": f"m-{upload.id}",
            }
        )

    async def take(self, request: web.Request) -> web.Response:
        """A part of an archive, or a file."""
        upload = self.uploads[request.match_info["id"]]
        path = unquote(request.rel_url.raw_path.partition("/files/")[2])
        if self.ranges and "Content-Range" in request.headers:
            return await self._take_range(request, upload, path)
        number = int(request.query.get("part_number", 0))
        content = await request.read()
        checksum = hashlib.sha256(content).hexdigest()
        header = "X-Chunk-Checksum" if "part_number" in request.query else "X-File-Checksum"
        sizes = {file["relative_path"]: file["size"] for file in upload.wanted.get("files", [])}
        if path and len(content) != sizes[path]:
            return refusal(400, "part_size_mismatch", "The file does not have its size.")
        if request.headers.get(header, checksum) != checksum:
            return refusal(400, "checksum_mismatch", "The bytes received do not have the checksum that was sent.")
        if upload.stored.setdefault((path, number), content) != content:
            return refusal(409, "part_conflict", "Other bytes are already stored under this part number.")
        upload.counts[path] = int(request.query.get("part_count", 1))
        self.part_arrived.set()
        told = {"relative_path": path, "part_number": number, "size": len(content), "checksum": checksum}
        if self.ranges:
            told["crc32"] = f"{zlib.crc32(content):08x}"
        return web.json_response(told)

    async def _take_range(self, request: web.Request, upload: Upload, path: str) -> web.Response:
        """Bytes of a file from where they were left, or the question where that is."""
        span, _, total = request.headers["Content-Range"].removeprefix("bytes ").partition("/")
        whole = upload.stored.get((path, 0))
        held = upload.held.setdefault(path, bytearray())
        start = len(held)
        crc32 = 0
        if whole is None and span != "*" and int(span.partition("-")[0]) == start:
            left = self.break_after.pop(0) if self.break_after else None
            async for chunk in request.content.iter_any():
                held += chunk if left is None else chunk[:left]
                crc32 = zlib.crc32(chunk, crc32)
                self.part_arrived.set()
                left = None if left is None else max(0, left - len(chunk))
                if left == 0:
                    del held[start + (len(held) - start) // self.held_part_bytes * self.held_part_bytes :]
                    return hang_up(request)
        if len(held) == int(total):
            whole = upload.stored[(path, 0)] = bytes(held)
            upload.counts[path] = 1
        if whole is None:
            body = {"relative_path": path, "size": int(total), "held_bytes": len(held)}
            headers = {"Range": f"bytes=0-{len(held) - 1}"} if held else {}
            return web.json_response(body, status=308, headers=headers)
        checksum = hashlib.sha256(whole).hexdigest()
        if request.headers.get("X-File-Checksum", checksum) != checksum:
            del upload.stored[(path, 0)], upload.held[path], upload.counts[path]
            return refusal(400, "checksum_mismatch", "The bytes received do not have the checksum that was sent.")
        told = {"relative_path": path, "size": len(whole), "checksum": checksum, "crc32": f"{crc32:08x}"}
        return web.json_response(told | self.claims)

    async def complete(self, request: web.Request) -> web.Response:
        upload = self.uploads[request.match_info["id"]]
        if self.processing_rounds:
            self.processing_rounds -= 1
            upload.status = "processing"
            body = {"status": "processing", "session_id": upload.id, "model_id": f"m-{upload.id}"}
            return web.json_response(body, status=202, headers={"Location": "/…"})
        state = self._state(upload)
        if state.get("missing") or any(f["status"] in ("missing", "partial") for f in state.get("files", [])):
            return refusal(409, "parts_missing", "Not everything has been sent yet.")
        upload.status = "completed"
        size = sum(len(content) for content in upload.stored.values())
        return web.json_response(
            {
                "model_id": f"m-{upload.id}",
                "model_name": upload.name,
                "file_count": len(upload.counts),
                "total_size": size,
                "files": [],
                "status": "completed",
                "version": "1.0.0",
            }
        )

    async def get_upload(self, request: web.Request) -> web.Response:
        return web.json_response(self._state(self.uploads[request.match_info["id"]]))

    async def list_uploads(self, request: web.Request) -> web.Response:
        wanted = {"status": request.query.get("status"), "model_name": request.query.get("model_name")}
        states = [self._state(upload) for upload in reversed(self.uploads.values())]
        shown = [
            {name: value for name, value in state.items() if name not in ("parts", "files", "received", "missing")}
            for state in states
            if all(value is None or state[name] == value for name, value in wanted.items())
        ]
        return web.json_response({"object": "list", "data": shown, "has_more": False})

    async def abort(self, request: web.Request) -> web.Response:
        self.uploads[request.match_info["id"]].status = "aborted"
        return web.json_response({"session_id": request.match_info["id"], "status": "aborted"})

    async def list_models(self, request: web.Request) -> web.Response:
        documents = [model_document(upload, self.findings) for upload in self.uploads.values()]
        listed = [
            {"id": d["id"], "name": d["name"], "status": d["status"], "sizeBytes": 5, "format": "safetensors"}
            for d in documents
        ]
        return web.json_response({"object": "list", "models": listed, "data": [], "has_more": False})

    async def get_model(self, request: web.Request) -> web.Response:
        named = unquote(request.match_info["id"])
        for upload in self.uploads.values():
            if named in (upload.name, f"m-{upload.id}"):
                return web.json_response(model_document(upload, self.findings))
        return refusal(404, "model_not_found", "The specified model does not exist or you do not have access to it.")

    async def get_report(self, request: web.Request) -> web.Response:
        report = {
            "model_id": request.match_info["id"],
            "status": "ready",
            "findings": self.findings,
            "validated_at": EXPIRES,
        }
        return web.json_response(report)

    async def get_files(self, request: web.Request) -> web.Response:
        upload = self.uploads[request.match_info["id"].removeprefix("m-")]
        files = [
            {"path": path, "size_bytes": len(self.content(upload, path)), "sha256": "0" * 64} for path in upload.counts
        ]
        return web.json_response({"object": "list", "data": files})

    def _add(self, request: web.Request, upload: Upload) -> Upload:
        upload.key = request.headers.get("Idempotency-Key")
        for known in self.uploads.values():
            if upload.key is not None and known.key == upload.key:
                return known
        upload.id = f"u{len(self.uploads)}"
        self.uploads[upload.id] = upload
        return upload

    def _state(self, upload: Upload) -> dict[str, Any]:
        return archive_state(upload) if upload.kind == "archive" else directory_state(upload)

    @web.middleware
    async def guard(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        """Authorization, the record of requests, and the faults that were ordered."""
        self.requests.append((request.method, request.path_qs))
        self._asked.set()
        wanted = OPERATOR_KEY if request.path.startswith("/admin") else KEY
        if request.headers.get("Authorization") != f"Bearer {wanted}":
            return refusal(401, "authentication_error", "Invalid API key.")
        for fault in self._faults:
            if not re.search(fault.path, request.path_qs) or not fault.times:
                continue
            if fault.after:
                fault.after -= 1
                continue
            fault.times -= 1
            return fault.answer(request)
        answer: web.StreamResponse = await handler(request)
        if self._lost and re.search(self._lost[0], request.path_qs):
            del self._lost[0]
            return hang_up(request)
        return answer


def refusal(status: int, code: str, message: str, headers: dict[str, str] | None = None, **more: Any) -> web.Response:
    """An error in the documented envelope."""
    error = {"message": message, "type": "…", "param": None, "code": code, **more}
    return web.json_response({"error": error}, status=status, headers=headers)


def hang_up(request: web.Request) -> web.StreamResponse:
    """Break the connection without a word."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def say_continue(request: web.Request) -> None:
    """Let a client that asked send its body."""
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


@asynccontextmanager
async def running() -> AsyncIterator[FakeSlipway]:
    """A server on a free port of the loopback."""
    fake = FakeSlipway()
    app = web.Application(middlewares=[fake.guard], client_max_size=1 << 30)
    base = f"/{PROJECT}/v1"

    async def expect(request: web.Request) -> None:
        await fake.on_expect(request)

    app.add_routes(
        [
            web.post(f"{base}/uploads/archive", fake.open_archive),
            web.post(f"{base}/uploads/directory", fake.open_directory),
            web.post(f"{base}/uploads/{{id}}/parts", fake.take, expect_handler=expect),
            web.put(f"{base}/uploads/{{id}}/files/{{path:.*}}", fake.take, expect_handler=expect),
            web.post(f"{base}/uploads/{{id}}/complete", fake.complete),
            web.get(f"{base}/uploads", fake.list_uploads),
            web.get(f"{base}/uploads/{{id}}", fake.get_upload),
            web.delete(f"{base}/uploads/{{id}}", fake.abort),
            web.get(f"{base}/models", fake.list_models),
            web.get(f"{base}/models/{{id}}", fake.get_model),
            web.get(f"{base}/models/{{id}}/report", fake.get_report),
            web.get(f"{base}/models/{{id}}/files", fake.get_files),
            *fake.admin.routes(),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    fake.base_url = f"http://{host}:{port}{base}"
    try:
        yield fake
    finally:
        await runner.cleanup()
