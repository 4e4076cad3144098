"""Downloads from a server that breaks off, sends other bytes, or names files elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from libs.client import AsyncClient, LocalProblem, ModelFile, Silent
from libs.client.downloads import Download

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


class Server:
    """Answers one file; `breaks` times it breaks off after half of what was asked for."""

    def __init__(self) -> None:
        self.ranges: list[str | None] = []
        self.breaks = 0
        self.knows_ranges = True
        self.content = CONTENT

    async def answer(self, request: web.Request) -> web.StreamResponse:
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.knows_ranges else 0
        assert wanted is None or request.headers["If-Range"] == f'"{SHA256}"'
        response = web.StreamResponse(status=206 if first else 200)
        response.content_length = len(self.content) - first
        await response.prepare(request)
        if self.breaks:
            self.breaks -= 1
            await response.write(self.content[first : first + (len(self.content) - first) // 2])
            assert request.transport is not None
            request.transport.close()
        else:
            await response.write(self.content[first:])
        return response


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncClient]:
    app = web.Application()
    app.router.add_get("/v1/models/{id}/files/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    async with AsyncClient(f"http://127.0.0.1:{port}/v1", "key") as client:
        yield client
    await runner.cleanup()


def model_file(path: str = "folder/weights.bin") -> ModelFile:
    return ModelFile(path, len(CONTENT), SHA256)


async def receive(client: AsyncClient, to: Path) -> bytes:
    await client.models.receive("m", to, [model_file()], Silent(), parallel=1)
    assert [path.name for path in (to / "folder").iterdir()] == ["weights.bin"]
    return (to / "folder" / "weights.bin").read_bytes()


async def test_it_goes_on_after_a_broken_connection(server: Server, client: AsyncClient, tmp_path: Path) -> None:
    server.breaks = 2

    assert await receive(client, tmp_path) == CONTENT
    assert server.ranges == [None, f"bytes={HALF}-", f"bytes={HALF + HALF // 2}-"]


async def test_it_begins_anew_where_the_server_does(server: Server, client: AsyncClient, tmp_path: Path) -> None:
    """A server may know no ranges, or have another content by now."""
    server.breaks, server.knows_ranges = 1, False

    assert await receive(client, tmp_path) == CONTENT
    assert server.ranges == [None, f"bytes={HALF}-"]


async def test_what_is_there_is_not_asked_for(server: Server, client: AsyncClient, tmp_path: Path) -> None:
    await receive(client, tmp_path)

    assert await receive(client, tmp_path) == CONTENT
    assert server.ranges == [None]


async def test_other_bytes_are_found_out_and_not_kept(server: Server, client: AsyncClient, tmp_path: Path) -> None:
    server.content = bytes(len(CONTENT))

    with pytest.raises(LocalProblem, match="arrived with other bytes"):
        await client.models.receive("m", tmp_path, [model_file()], Silent(), parallel=1)

    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize("path", ["../up", "/etc/passwd", "a/../../b", "", "a\\b", "a\0b"])
def test_no_server_says_where_on_this_disk(path: str, tmp_path: Path) -> None:
    with pytest.raises(LocalProblem, match="would not be inside"):
        Download(lambda file, sink: NotImplemented, tmp_path, [model_file(path)], 1)
