"""`make demo`, on a tiny model instead of a download."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support.models import given_llama, written

ROOT = Path(__file__).parents[2]
WITHIN_S = 120


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where the demo keeps everything while it runs."""
    folder = tmp_path / "scratch"
    folder.mkdir(mode=0o711)  # a Postgres that is not root has to pass
    return folder


@pytest.fixture
def demo(tmp_path: Path, scratch: Path) -> Callable[[], subprocess.Popen[str]]:
    model = written(given_llama(shards=3), tmp_path / "tiny-llama")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "deploy.local.demo"],
            cwd=ROOT,
            env={**kept, "MODEL": str(model), "TMPDIR": str(scratch)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def running_in(folder: Path) -> list[str]:
    """The processes that were told of a path below `folder`."""
    lines = (" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))
    return [line for line in lines if str(folder) in line]


def test_demo_shows_a_model_and_leaves_nothing(demo: Callable[[], subprocess.Popen[str]], scratch: Path) -> None:
    process = demo()
    shown, _ = process.communicate(timeout=WITHIN_S)

    assert process.returncode == 0, shown
    for words in ("tiny-llama 1.0.0", "LlamaForCausalLM", "512 tokens", "F16", "nothing: it was there"):
        assert words in shown
    assert list(scratch.iterdir()) == []
    assert running_in(scratch) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_that_is_stopped_leaves_nothing(
    demo: Callable[[], subprocess.Popen[str]], scratch: Path, number: signal.Signals
) -> None:
    process = demo()
    assert process.stdout is not None
    first = process.stdout.readline()  # ends when everything runs
    assert "lifecycle" in first, first + process.stdout.read()
    process.send_signal(number)
    shown, _ = process.communicate(timeout=WITHIN_S)

    assert process.returncode == 130, shown
    assert "Traceback" not in shown
    assert list(scratch.iterdir()) == []
    assert running_in(scratch) == []
