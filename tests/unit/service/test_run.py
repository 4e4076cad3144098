"""run(): a process from its first line to its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.eventually import eventually_sync

pytestmark = pytest.mark.slow  # starts processes

SETTINGS = {
    "SLIPWAY_DATABASE_URL": "postgresql://nowhere",
    "SLIPWAY_NATS_URL": "nats://nowhere",
    "SLIPWAY_S3_URL": "http://a:b@nowhere/bucket",
    "SLIPWAY_HTTP_HOST": "127.0.0.1",
    "SLIPWAY_HTTP_PORT": "0",
    "SLIPWAY_UNREADY_S": "0",
}

SCRIPT = """
import asyncio
from contextlib import asynccontextmanager
from libs.config import ServiceConfig
from libs.service import run

@asynccontextmanager
async def part():
    print("opened", flush=True)
    yield
    print("closed", flush=True)

async def build(config, service):
    await service.enter(part())
    {body}

run("tester", ServiceConfig, build)
"""


SLOW = """
    from pathlib import Path
    from libs.web import PUBLIC, Response, Route, make_app

    async def slow(call):
        print("asked", flush=True)
        while not Path({path!r}).exists():
            await asyncio.sleep(0.01)
        return Response({{"finished": True}})

    async def nobody(token):
        raise AssertionError(token)

    route = Route("GET", "slow", slow, summary="Slow.", access=PUBLIC)
    routes = [route, *service.health_routes()]
    service.serve(make_app(routes, authenticate=nobody, dependencies=None, title="Test"))
"""


def started(body: str, **settings: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(body=body)],
        env=os.environ | SETTINGS | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, list[dict[str, Any]]]:
    """Exit code, stdout, log."""
    out, err = process.communicate(timeout=20)
    return process.returncode, out, [json.loads(line) for line in err.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_with_exit_code_0(number: signal.Signals) -> None:
    process = started("pass")
    assert process.stderr is not None
    while "listening on" not in process.stderr.readline():
        pass
    process.send_signal(number)
    code, out, log = ended(process)
    assert (code, out) == (0, "opened\nclosed\n")
    assert log[-1]["message"] == "stopped"


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stderr is not None
    while "listening on" not in (line := process.stderr.readline()):
        pass
    return int(json.loads(line)["port"])


def test_sigterm_is_unready_at_once_then_closed_then_waits_for_what_is_under_way(tmp_path: Path) -> None:
    """A load balancer sees /readyz before connections are refused, and a slow request ends well after that."""
    go_on = tmp_path / "go on"
    process = started(SLOW.format(path=str(go_on)), SLIPWAY_UNREADY_S="2", SLIPWAY_DRAIN_S="60")
    url = f"http://127.0.0.1:{port_of(process)}"
    with ThreadPoolExecutor() as threads:
        asking = threads.submit(requests.get, f"{url}/v1/slow", timeout=60)
        assert process.stdout is not None
        assert process.stdout.readline() == "opened\n"
        assert process.stdout.readline() == "asked\n"
        assert requests.get(f"{url}/readyz", timeout=10).status_code == 200
        process.send_signal(signal.SIGTERM)

        def is_unready() -> None:
            assert requests.get(f"{url}/readyz", timeout=10).status_code == 503

        eventually_sync(is_unready)

        def is_closed() -> None:
            with suppress(requests.ConnectionError):
                raise AssertionError(requests.get(f"{url}/readyz", timeout=10).text)

        try:
            eventually_sync(is_closed)
            assert process.poll() is None
        finally:
            go_on.touch()
        answer = asking.result()
    assert (answer.status_code, answer.json()) == (200, {"finished": True})
    code, out, log = ended(process)
    assert (code, out) == (0, "closed\n")
    assert log[-1]["message"] == "stopped"


def test_a_request_that_outlasts_the_drain_is_cut_off_and_the_process_ends(tmp_path: Path) -> None:
    process = started(SLOW.format(path=str(tmp_path / "never")), SLIPWAY_DRAIN_S="0.2")
    url = f"http://127.0.0.1:{port_of(process)}"
    with ThreadPoolExecutor() as threads:
        asking = threads.submit(requests.get, f"{url}/v1/slow", timeout=60)
        assert process.stdout is not None
        while process.stdout.readline() != "asked\n":
            pass
        process.send_signal(signal.SIGTERM)
        with pytest.raises(requests.ConnectionError):
            asking.result()
    code, out, _ = ended(process)
    assert (code, out) == (0, "closed\n")


def test_a_signal_during_a_start_that_waits_ends_it_too() -> None:
    process = started("await asyncio.Event().wait()")
    assert process.stdout is not None
    assert process.stdout.readline() == "opened\n"
    process.send_signal(signal.SIGTERM)
    code, out, _ = ended(process)
    assert (code, out) == (0, "closed\n")


def test_a_failed_start_closes_what_was_opened_and_exits_1() -> None:
    code, out, log = ended(started("raise RuntimeError('no way')"))
    assert (code, out) == (1, "opened\nclosed\n")
    assert log[-1]["level"] == "critical"
    assert "no way" in log[-1]["message"]


def test_a_background_task_that_dies_ends_the_process_with_1() -> None:
    code, out, log = ended(started("service.background('relay', lambda stop: asyncio.sleep(0))"))
    assert (code, out) == (1, "opened\nclosed\n")
    assert "relay ended before the service was stopped" in [line["message"] for line in log]


def test_a_wrong_setting_is_named_before_anything_starts() -> None:
    process = started("pass", SLIPWAY_HTTP_PORT="http")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    assert "SLIPWAY_HTTP_PORT" in err
