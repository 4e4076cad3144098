"""The `slipway` command and README's curl, on the whole stack as `slipway up` runs it."""

from __future__ import annotations

import hashlib
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

from libs.client import Slipway
from tests.support.models import given_big_llama, given_llama, written

ROOT = Path(__file__).parents[2]
CHUNK_BYTES = 1 << 20
UP_WITHIN_S, RAN_WITHIN_S = 60, 90


@dataclass
class Live:
    """A running stack, and how to talk to it."""

    home: Path

    @property
    def credentials(self) -> dict[str, str]:
        return json.loads((self.home / "credentials.json").read_text())

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
        return json.loads(out)


def _command(arguments: list[str], **environ: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
    return subprocess.Popen(
        [sys.executable, "-m", "libs.cli", *arguments],
        cwd=ROOT,
        env={**kept, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


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


def test_interrupted_upload_goes_on_where_it_stopped(live: Live, tmp_path: Path) -> None:
    model = written(given_big_llama(48 << 20), tmp_path / "big")
    archive = archived(model, "big.tar")
    first = live.start("upload", archive, "--name", "big", "--parallel", "1")
    session = None
    while session is None:
        assert first.poll() is None, first.communicate()
        uploads = live.json("uploads", "list", "--name", "big")["uploads"]
        session = next((upload for upload in uploads if upload["uploaded_chunks"]), None)
    first.send_signal(signal.SIGINT)
    _, told = first.communicate(timeout=RAN_WITHIN_S)

    second = live.json("upload", archive, "--name", "big")

    assert first.returncode == 130
    assert "same command again" in told
    assert second["resumed"] is True
    assert second["session_id"] == session["session_id"]
    assert second["kept_bytes"] >= CHUNK_BYTES
    assert second["sent_bytes"] + second["kept_bytes"] == archive.stat().st_size
    assert second["status"] == "ready"


def test_a_directory_again_sends_only_the_shard_that_changed(live: Live, tmp_path: Path) -> None:
    """Nothing of it is hashed but what is small: the digests of the first time are kept."""
    model = written(given_big_llama(9 << 20, shards=3, seed=7), tmp_path / "shards")
    for file in model.iterdir():
        os.utime(file, (1_700_000_000, 1_700_000_000))
    changed = model / "model-00001-of-00003.safetensors"

    first = live.json("upload", model, "--name", "shards")
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    again = live.json("upload", model, "--name", "shards")

    assert (first["status"], again["status"]) == ("ready", "ready")
    assert again["sent_bytes"] == len(content)
    assert again["kept_bytes"] == first["sent_bytes"] + first["kept_bytes"] - len(content)
    assert [file["sha256"] for file in again["files"] if file["relative_path"] == changed.name] == [
        hashlib.sha256(content).hexdigest()
    ]


def test_refused_archive_says_which_member_and_what_to_do(live: Live, model: Path) -> None:
    (model / "vocab.txt").symlink_to("tokenizer.json")
    code, out, err = live.run("upload", archived(model), "--name", "link", "--json")
    [upload] = live.json("uploads", "list", "--name", "link")["uploads"]

    assert code == 1
    assert json.loads(out)["error"]["finding"]["rule"] == "tar-symlink"
    assert "vocab.txt" in err
    assert "Traceback" not in err
    assert upload["status"] == "failed"


def test_model_that_is_wrong_ends_in_its_findings(live: Live, tmp_path: Path) -> None:
    files = given_llama(seed=3)
    files["model.safetensors"] = files["model.safetensors"][:-8]
    model = written(files, tmp_path / "short")

    code, out, _ = live.run("upload", model, "--name", "short")

    assert code == 1
    assert "● error" in out
    assert "model.safetensors" in out


async def test_aborted_upload_is_not_open_any_more(live: Live) -> None:
    async with Slipway(live.credentials["base_url"], live.credentials["api_key"]) as api:
        opened = await api.uploads.open_archive("given up", 1000, "tar")

    before = live.json("uploads", "list", "--status", "open")["uploads"]
    live.json("uploads", "abort", opened.session_id)
    after = live.json("uploads", "list", "--status", "open")["uploads"]

    assert opened.session_id in {upload["session_id"] for upload in before}
    assert opened.session_id not in {upload["session_id"] for upload in after}


def test_keys_of_a_project_work_until_they_are_revoked(live: Live) -> None:
    project = live.json("admin", "project", "create", "team")
    key = live.json("admin", "key", "create", "--project", project["id"])
    there = ("models", "list", "--api-key", key["key"], "--base-url", _host(live))

    before = live.run(*there)
    live.json("admin", "key", "revoke", key["id"], "--project", project["id"])
    after = live.run(*there)

    assert before[0] == 0, before
    assert after[0] == 1
    assert after[2].startswith("Error: Invalid API key.")


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="needs curl and jq")
def test_readme_by_curl(live: Live, model: Path, tmp_path: Path) -> None:
    """The script in the README, word for word but for its first line."""
    [script] = re.findall(r"```sh\n(BASE=.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    settings, _, steps = script.partition("\n")
    assert settings.startswith("BASE=")
    mine = {
        "BASE": live.credentials["base_url"],
        "KEY": live.credentials["api_key"],
        "MODEL": str(model),
        "NAME": "by-curl",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", steps],
        check=False,
        cwd=tmp_path,
        env={**os.environ, **mine},
        capture_output=True,
        text=True,
        timeout=RAN_WITHIN_S,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"status":"completed"' in done.stdout
    assert '"architecture"' in done.stdout


def _host(live: Live) -> str:
    return live.credentials["base_url"].partition("/proj_")[0]
