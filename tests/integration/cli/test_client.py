"""How the client talks HTTP: what it repeats, what it does not, and what it makes of answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from yarl import URL

from libs.client import ApiError, FileSlice, LocalProblem, Slipway, Unreachable
from libs.client.transport import Transport
from tests.integration.cli.server import KEY, FakeSlipway, hang_up, refusal


@pytest.fixture
async def api(server: FakeSlipway) -> AsyncIterator[Slipway]:
    async with Slipway(server.base_url, KEY) as api:
        yield api


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(bytes(8 << 20))
    return path


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://h:1/proj_A/v1", "http://h:1/proj_A/v1"),
        ("http://h:1/proj_A/v1/", "http://h:1/proj_A/v1"),
        ("https://h", "https://h/v1"),  # the key names the project
        ("https://h/", "https://h/v1"),
    ],
)
async def test_base_urls(given: str, base: str) -> None:
    transport = Transport(given, None)
    await transport.close()

    assert transport.base == URL(base)


@pytest.mark.parametrize("given", ["", "localhost:8080", "ftp://h/v1"])
async def test_no_base_url(given: str) -> None:
    with pytest.raises(Unreachable, match="is no base URL; it looks like"):
        Transport(given, None)


async def test_opening_without_a_key_is_not_repeated_once_it_may_have_happened(
    api: Slipway, server: FakeSlipway
) -> None:
    """Else a broken answer would leave a second session behind."""
    server.fail("uploads/archive", hang_up)

    with pytest.raises(Unreachable):
        await api.uploads.open_archive("m", 10, "tar")

    assert len(server.sent("POST .*archive")) == 1


async def test_opening_with_a_key_is_repeated_and_opens_one_session(api: Slipway, server: FakeSlipway) -> None:
    """The answer to the first request is lost; the second request finds its session."""
    server.lose_answer("uploads/archive")

    opened = await api.uploads.open_archive("m", 10, "tar", idempotency_key="k")

    assert len(server.sent("POST .*archive")) == 2
    assert list(server.uploads) == [opened.session_id]


async def test_opening_is_repeated_when_the_server_did_nothing(api: Slipway, server: FakeSlipway) -> None:
    server.fail("uploads/archive", lambda _: refusal(429, "rate_limit_exceeded", "Slower.", {"Retry-After": "0"}))

    opened = await api.uploads.open_archive("m", 10, "tar")

    assert opened.total_chunks == 1
    assert len(server.sent("POST .*archive")) == 2


async def test_refusals_that_repeating_cannot_help_are_final(api: Slipway, server: FakeSlipway) -> None:
    server.fail("uploads", lambda _: refusal(503, "unavailable", "Closed.", {"x-should-retry": "false"}))

    with pytest.raises(ApiError, match="Closed"):
        await api.uploads.find()


async def test_longer_waits_than_patience_are_left_to_people(api: Slipway, server: FakeSlipway) -> None:
    server.fail("uploads", lambda _: refusal(503, "unavailable", "Later.", {"Retry-After": "20"}))

    with pytest.raises(ApiError, match="Later"):
        await api.uploads.find()


async def test_refusal_costs_no_transfer(api: Slipway, server: FakeSlipway, large: Path) -> None:
    """A large body waits for "100 Continue"; a server that says no at once gets none of it."""
    moved: list[int] = []
    server.fail("parts", lambda _: refusal(409, "conflict", "The upload is over."))

    async def refuse(request: web.Request) -> None:
        """Say nothing to `Expect`, so that the answer itself comes first."""

    server.on_expect = refuse
    with pytest.raises(ApiError, match="upload is over"):
        await api.uploads.send_part("u0", 0, FileSlice(large, 0, 8 << 20, moved.append), "0" * 64)

    assert sum(moved) == 0


async def test_file_that_shrinks_while_it_is_sent_is_told(api: Slipway, large: Path) -> None:
    """Not as a broken connection, which it looks like, and not tried again."""
    opened = await api.uploads.open_archive("m", 9 << 20, "tar")

    with pytest.raises(LocalProblem, match="became shorter"):
        await api.uploads.send_part(opened.session_id, 0, FileSlice(large, 0, 9 << 20), "0" * 64)


@pytest.mark.parametrize(
    "answer", [lambda _: web.Response(text="<html>"), lambda _: web.Response(status=404, text="nginx")]
)
async def test_another_server_is_recognized(api: Slipway, server: FakeSlipway, answer: object) -> None:
    server.fail("models", answer)

    with pytest.raises(ApiError, match="Check the base URL"):
        await api.models.all()


async def test_troubles_are_told_while_they_are_waited_out(server: FakeSlipway) -> None:
    told: list[str] = []
    server.fail("uploads", lambda _: refusal(503, "unavailable", "Postgres is away."))

    async with Slipway(server.base_url, KEY, on_trouble=told.append) as api:
        await api.uploads.find()

    assert told == ["Postgres is away. Trying again …"]
