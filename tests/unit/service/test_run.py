"""run(): a process from its first line to its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.slow  # starts processes

SETTINGS = {
    "SLIPWAY_DATABASE_URL": "postgresql://nowhere",
    "SLIPWAY_NATS_URL": "nats://nowhere",
    "SLIPWAY_S3_URL": "http://a:b@nowhere/bucket",
    "SLIPWAY_HTTP_HOST": "127.0.0.1",
    "SLIPWAY_HTTP_PORT": "0",
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
    assert "relay ended without being told to" in [line["message"] for line in log]


def test_a_wrong_setting_is_named_before_anything_starts() -> None:
    process = started("pass", SLIPWAY_HTTP_PORT="http")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    assert "SLIPWAY_HTTP_PORT" in err
