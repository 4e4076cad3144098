"""The `slipway` command, and the curl and Python of the documentation, on the whole stack as `slipway up` runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from libs.client import AsyncClient
from tests.support.models import given_llama, written

ROOT = Path(__file__).parents[2]
CHUNK_BYTES = 1 << 20
UP_WITHIN_S, RAN_WITHIN_S = 60, 90


@dataclass
class Live:
    """A running stack, and how to talk to it."""

    home: Path

    @property
    def credentials(self) -> dict[str, str]:
        return dict(json.loads((self.home / "credentials.json").read_text()))

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        cache = str(self.home / "cache")
        return _command(["--credentials", str(self.home), *map(str, arguments)], XDG_CACHE_HOME=cache)

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """Run `slipway ARGUMENTS…` -> (exit code, standard output, standard error)."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=RAN_WITHIN_S)
        return process.returncode, out, err

    def json(self, *arguments: object) -> dict[str, Any]:
        """What `slipway ARGUMENTS… --json` prints; it has to succeed."""
        code, out, err = self.run(*arguments, "--json")
        assert code == 0, err
        return dict(json.loads(out))


def _command(arguments: list[str], **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "libs.cli", *arguments],
        cwd=ROOT,
        env=_environment(**environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _environment(**more: str) -> dict[str, str]:
    """Ours without the variables of Slipway, and with `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
    return {**kept, **more}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    home = tmp_path_factory.mktemp("up") / "home"
    chunks = {"SLIPWAY_CHUNK_SIZE_BYTES": str(CHUNK_BYTES)}
    up = _command(["up", "--data-dir", str(home), "--port", "0"], **chunks)
    assert up.stdout is not None
    said = []
    for line in up.stdout:  # ends when it is up, or when it could not start
        said.append(line)
        if "Ctrl-C stops everything" in line:
            break
    try:
        assert up.poll() is None, up.communicate(timeout=UP_WITHIN_S)
        yield Live(home)
    finally:
        up.send_signal(signal.SIGTERM)
        up.communicate(timeout=UP_WITHIN_S)
    assert up.returncode == 0, said


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return written(given_llama(shards=2), tmp_path / "tiny")


def archived(model: Path, name: str = "model.tar.gz") -> Path:
    path = model.parent / name
    with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as tar:
        tar.add(model, arcname=".")
    return path


def test_directory_and_archive_become_the_same_model(live: Live, model: Path) -> None:
    """Both ways end in the same files; what the project has is not sent again."""
    by_archive = live.json("upload", archived(model), "--name", "by archive")
    by_directory = live.json("upload", model, "--name", "by directory")
    known = [live.json("models", "get", name) for name in ("by archive", "by directory")]

    assert (by_archive["status"], by_directory["status"]) == ("ready", "ready")
    assert by_directory["sent_bytes"] == 0
    assert known[0]["files"] == known[1]["files"]
    assert known[0]["architecture"] == "LlamaForCausalLM"
    assert {file["path"] for file in known[0]["files"]} == {path.name for path in model.iterdir()}


NEEDS_CURL = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="needs curl and jq")
SCRIPTS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def by_shell(script: str, folder: Path, **variables: str) -> str:
    """Run a script of the README in `folder`, which has to succeed. Returns: what it printed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        check=False,
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=RAN_WITHIN_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@NEEDS_CURL
def test_readme_by_curl(live: Live, model: Path, tmp_path: Path) -> None:
    """The script in the README, word for word but for its first line."""
    settings, _, steps = SCRIPTS[0].partition("\n")
    assert settings.startswith("BASE=")
    base, key = live.credentials["base_url"], live.credentials["api_key"]

    printed = by_shell(steps, tmp_path, BASE=base, KEY=key, MODEL=str(model), NAME="by-curl")

    assert '"status":"completed"' in printed
    assert '"architecture"' in printed


@NEEDS_CURL
async def test_readme_in_pieces_by_curl(live: Live, tmp_path: Path) -> None:
    """The second script asks for what is held, and sends the first piece of a file."""
    [function] = re.findall(r"^api\(\).*$", SCRIPTS[0], re.MULTILINE)
    [size_bytes] = {int(size) for size in re.findall(r"bytes \S+/(\d+)", SCRIPTS[1])}
    [last] = re.findall(r"bytes 0-(\d+)/", SCRIPTS[1])
    (tmp_path / "piece").write_bytes(bytes(int(last) + 1))
    base, key = live.credentials["base_url"], live.credentials["api_key"]
    async with AsyncClient(base, key) as api:
        opened = await api.uploads.open_directory("pieces", [("model.safetensors", size_bytes, None)])

        printed = by_shell(f"{function}\n{SCRIPTS[1]}", tmp_path, BASE=base, KEY=key, SESSION=opened.session_id)

        held = await api.uploads.ask_range(opened.session_id, "model.safetensors", size_bytes)
    assert '"held_bytes":0' in printed
    assert held.held_bytes == int(last) + 1


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_documented_python_runs(live: Live, model: Path, tmp_path: Path, page: str) -> None:
    """Every block of the page, one after another, as a program of somebody who has run `slipway up` here."""
    program = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL))
    (tmp_path / ".slipway").symlink_to(live.home)
    model.rename(tmp_path / "Qwen3-0.6B")

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        check=False,
        cwd=tmp_path,
        env=_environment(XDG_CACHE_HOME=str(tmp_path / "cache")),
        capture_output=True,
        text=True,
        timeout=RAN_WITHIN_S,
    )

    assert program
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "ready LlamaForCausalLM" in done.stdout or "404 model_not_found" in done.stdout
