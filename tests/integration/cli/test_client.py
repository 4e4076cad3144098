"""How the client talks HTTP: what it repeats, what it does not, and what it makes of answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from libs.client import ApiError, AsyncClient, FileSlice, LocalProblem, Unreachable
from tests.integration.cli.conftest import Project
from tests.integration.cli.proxy import Answer, GatewayProxy, hang_up, refusal
from tests.support.deployment import CHUNK_BYTES


@pytest.fixture
async def client(proxy: GatewayProxy, project: Project) -> AsyncIterator[AsyncClient]:
    """A client by way of the proxy."""
    async with AsyncClient(f"{proxy.address}/{project.id}/v1", project.key) as client:
        yield client


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file large enough to be announced before it is sent."""
    path = tmp_path / "large"
    path.write_bytes(bytes(8 << 20))
    return path


async def test_opening_without_a_key_is_not_repeated_once_it_may_have_happened(
    client: AsyncClient, proxy: GatewayProxy
) -> None:
    """Else a broken answer would leave a second session behind."""
    proxy.fail("uploads/archive", hang_up)

    with pytest.raises(Unreachable):
        await client.uploads.open_archive("m", 10, "tar")

    assert len(proxy.sent("POST .*archive")) == 1


async def test_opening_with_a_key_is_repeated_and_opens_one_session(
    client: AsyncClient, api: AsyncClient, proxy: GatewayProxy
) -> None:
    """The answer to the first request is lost; the second request finds its session."""
    proxy.lose_answer("uploads/archive")

    opened = await client.uploads.open_archive("m", 10, "tar", idempotency_key="k")

    assert len(proxy.sent("POST .*archive")) == 2
    assert [session.session_id for session in await api.uploads.list().all()] == [opened.session_id]


async def test_opening_is_repeated_when_the_server_did_nothing(client: AsyncClient, proxy: GatewayProxy) -> None:
    proxy.fail("uploads/archive", refusal(429, "rate_limit_exceeded", "Slower.", {"Retry-After": "0"}))

    opened = await client.uploads.open_archive("m", 10, "tar")

    assert opened.total_chunks == 1
    assert len(proxy.sent("POST .*archive")) == 2


async def test_refusals_that_repeating_cannot_help_are_final(client: AsyncClient, proxy: GatewayProxy) -> None:
    proxy.fail("uploads", refusal(503, "unavailable", "Closed.", {"x-should-retry": "false"}))

    with pytest.raises(ApiError, match="Closed"):
        await client.uploads.list().all()

    assert len(proxy.requests) == 1


async def test_longer_waits_than_patience_are_left_to_people(client: AsyncClient, proxy: GatewayProxy) -> None:
    proxy.fail("uploads", refusal(503, "unavailable", "Later.", {"Retry-After": "20"}))

    with pytest.raises(ApiError, match="Later"):
        await client.uploads.list().all()


async def test_refusal_costs_no_transfer(client: AsyncClient, proxy: GatewayProxy, large: Path) -> None:
    """A large body waits for "100 Continue"; a server that says no at once gets none of it."""
    moved: list[int] = []
    proxy.fail("parts", refusal(409, "conflict", "The upload is over."))

    with pytest.raises(ApiError, match="upload is over"):
        await client.uploads.send_part("u0", 0, FileSlice(large, 0, 8 << 20, moved.append), "0" * 64)

    assert sum(moved) == 0


async def test_the_gateway_refuses_before_the_transfer(api: AsyncClient, large: Path) -> None:
    moved: list[int] = []
    opened = await api.uploads.open_archive("m", 9 << 20, "tar")
    await api.uploads.abort(opened.session_id)

    with pytest.raises(ApiError, match="aborted"):
        await api.uploads.send_part(opened.session_id, 0, FileSlice(large, 0, 8 << 20, moved.append), "0" * 64)

    assert sum(moved) == 0


async def test_file_that_shrinks_while_it_is_sent_is_told(client: AsyncClient, tmp_path: Path) -> None:
    """Not as a broken connection, which it looks like, and not tried again."""
    opened = await client.uploads.open_archive("m", 9 * CHUNK_BYTES, "tar")
    (tmp_path / "short").write_bytes(bytes(CHUNK_BYTES - 1))

    with pytest.raises(LocalProblem, match="became shorter"):
        await client.uploads.send_part(opened.session_id, 0, FileSlice(tmp_path / "short", 0, CHUNK_BYTES), "0" * 64)


@pytest.mark.parametrize(
    "answer", [lambda _: web.Response(text="<html>"), lambda _: web.Response(status=404, text="nginx")]
)
async def test_another_server_is_recognized(client: AsyncClient, proxy: GatewayProxy, answer: Answer) -> None:
    proxy.fail("models", answer)

    with pytest.raises(ApiError, match="Check the base URL"):
        await client.models.list().all()


async def test_repeats_are_announced(proxy: GatewayProxy, project: Project) -> None:
    """A person who waits is told what for."""
    said: list[str] = []
    proxy.fail("uploads", refusal(503, "unavailable", "Postgres is away."))

    async with AsyncClient(f"{proxy.address}/{project.id}/v1", project.key, on_retry=said.append) as client:
        await client.uploads.list().all()

    assert said == ["Postgres is away. Trying again …"]


async def test_lists_of_several_pages_come_whole(api: AsyncClient) -> None:
    """The gateway answers at most 100 at a time."""
    opened = [(await api.uploads.open_archive(f"m{number}", 10, "tar")).session_id for number in range(101)]

    found = await api.uploads.list().all()
    models = await api.models.list().all()

    assert [session.session_id for session in found] == opened[::-1]
    assert len(models) == 101
