"""`slipway up` on a data directory: what is there afterwards, however it ended."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from libs.blobs import Blobs
from tests.e2e.client import Client, answered, archived
from tests.support.eventually import eventually_sync
from tests.support.models import given_llama

SERVERS = {"postgres", "nats", "s3", "gateway", "extractor", "validator", "lifecycle"}


class Up:
    """One run of the command."""

    def __init__(self, data_dir: Path, port: int = 0, options: tuple[str, ...] = ()) -> None:
        self.data_dir = data_dir
        self._said = data_dir.with_suffix(".said")
        command = [sys.executable, "-m", "libs.cli", "up", "--data-dir", str(data_dir), "--port", str(port), *options]
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)

    def said(self, sentence: str, within_s: float = 60) -> str:
        """All that was said, once `sentence` is in it."""

        def look() -> str:
            said = self._said.read_text()
            if self.process.poll() is not None and sentence not in self._said.read_text():
                pytest.fail(f"ended with {self.process.returncode}, saying: {said}")
            assert sentence in said, said
            return said

        return eventually_sync(look, within_s)

    def client(self) -> Client:
        """A client with the credentials that were written."""
        credentials = json.loads((self.data_dir / "credentials.json").read_text())
        address = credentials["base_url"].split("/proj_")[0]
        client = Client(address, credentials["project_id"], credentials["api_key"])
        assert client.base == credentials["base_url"]
        return client

    def pid(self, name: str) -> int:
        return int(json.loads((self.data_dir / "run" / f"{name}.pid").read_text())["pid"])

    def children(self) -> list[psutil.Process]:
        children: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return children

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=15)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Up]]:
    """Every run of a test; ended with it."""
    runs: list[Up] = []
    yield runs
    for run in runs:
        if run.process.poll() is None:
            run.end(signal.SIGKILL)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def begin(started: list[Up], data_dir: Path) -> Up:
    """A run that is up."""
    run = Up(data_dir)
    started.append(run)
    run.said("Ctrl-C stops everything")
    return run


def gone(processes: list[psutil.Process], within_s: float) -> None:
    """They have ended; a zombie has, where nobody reaps orphans."""
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []


def test_what_up_gives_out_is_enough_to_use_it(started: list[Up], data_dir: Path) -> None:
    run = begin(started, data_dir)
    credentials: dict[str, Any] = json.loads((data_dir / "credentials.json").read_text())

    assert set(credentials) == {"base_url", "project_id", "api_key", "operator_key"}
    assert (data_dir / "credentials.json").stat().st_mode & 0o777 == 0o600
    said = run.said(credentials["base_url"])
    assert f"curl -H 'Authorization: Bearer {credentials['api_key']}' {credentials['base_url']}/models" in said
    assert f"slipway upload ./Qwen3-0.6B --name Qwen3-0.6B --credentials {data_dir}/credentials.json" in said
    assert answered(run.client().get("models"))["data"] == []
    operator = {"Authorization": f"Bearer {credentials['operator_key']}"}
    address = credentials["base_url"].split("/proj_")[0]
    [project] = answered(requests.get(f"{address}/admin/v1/projects", headers=operator))["data"]
    assert project["id"] == credentials["project_id"]
    assert answered(run.client().get("catalog"))["data"] == []
    refused = run.client().post("models/nothing/share")
    assert refused.json()["error"]["code"] == "model_not_found"  # neither the feature nor the role is missing


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_started_again_it_has_everything_it_had(started: list[Up], data_dir: Path, number: signal.Signals) -> None:
    run = begin(started, data_dir)
    files = given_llama()
    model = run.client().upload("tiny", archived(files))
    children = run.children()
    assert len(children) >= len(SERVERS)

    began = time.monotonic()
    code = run.end(number)
    gone(children, within_s=10)
    assert time.monotonic() - began < 10
    assert code == (-9 if number == signal.SIGKILL else 0)

    again = begin(started, data_dir).client()
    assert again.settled(model["model_id"])["name"] == "tiny"
    assert again.get("models/tiny/files/model.safetensors").content == files["model.safetensors"]


def test_whatever_dies_is_started_again_and_it_is_said(started: list[Up], data_dir: Path) -> None:
    run = begin(started, data_dir)
    for name in sorted(SERVERS):
        pid = run.pid(name)
        psutil.Process(pid).kill()
        run.said(f"{name} ended with SIGKILL; starting it again in ")
        eventually_sync(partial(_another, run, name, pid))

    client = run.client()
    done = eventually_sync(lambda: client.upload("tiny", archived(given_llama())))
    client.settled(done["model_id"])


def test_objects_of_an_earlier_release_are_moved_when_told_to(started: list[Up], data_dir: Path) -> None:
    """Until then nothing is started; afterwards everything is as it was."""
    run = begin(started, data_dir)
    files = given_llama()
    model = run.client().upload("tiny", archived(files))
    run.client().settled(model["model_id"])
    url = dict(line.split("=", 1) for line in (data_dir / "run" / "services.env").read_text().splitlines())
    asyncio.run(_as_formerly(url["SLIPWAY_S3_URL"].strip("'"), data_dir))
    run.end(signal.SIGTERM)
    shutil.rmtree(data_dir / "s3" / "store")
    before = sorted(data_dir.rglob("*"))

    refused = Up(data_dir)
    assert refused.process.wait(timeout=30) == 1
    assert f"slipway up --data-dir {data_dir} --import-objects" in refused.said("Error")
    assert sorted(data_dir.rglob("*")) == before

    again = Up(data_dir, options=("--import-objects",))
    started.append(again)
    again.said("Ctrl-C stops everything")
    assert again.client().get("models/tiny/files/model.safetensors").content == files["model.safetensors"]
    assert (data_dir / "s3" / "slipway.imported").is_dir()


async def _as_formerly(s3_url: str, data_dir: Path) -> None:
    """Copy every object to where earlier releases kept it."""
    async with Blobs.open(s3_url) as blobs:
        async for info in blobs.list():
            file = data_dir / "s3" / "slipway" / info.key
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(await blobs.read(info.key, 0, info.size_bytes))


def _another(run: Up, name: str, pid: int) -> None:
    assert (run.data_dir / "run" / f"{name}.pid").exists()
    assert run.pid(name) != pid


def test_a_second_run_on_the_same_directory_is_refused(started: list[Up], data_dir: Path) -> None:
    run = begin(started, data_dir)
    second = Up(data_dir)
    assert second.process.wait(timeout=30) == 1
    second_said = second.said("Error")
    assert f"in use by another `slipway up` (pid {run.process.pid})" in second_said
    assert "--data-dir" in second_said
    assert answered(run.client().get("models"))


def test_a_port_that_is_taken_is_named_with_the_flag(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = Up(data_dir, port)
        assert run.process.wait(timeout=30) == 1
    assert f"Port {port} of 127.0.0.1 is taken. Choose another with --port" in run.said("Error")


def test_interrupted_while_it_starts_it_leaves_nothing_running(started: list[Up], data_dir: Path) -> None:
    run = Up(data_dir)
    started.append(run)
    eventually_sync(lambda: _running(data_dir / "run" / "postgres.pid"))
    children = run.children()
    assert run.end(signal.SIGINT) == 0
    gone(children, within_s=5)
    begin(started, data_dir)


def _running(pidfile: Path) -> None:
    assert pidfile.exists()
