"""The real gateway behind a proxy that fails to order, a project of the test's own, and the command as a process."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import sys
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.client import AsyncClient
from tests.integration.cli.proxy import GatewayProxy, before_gateway
from tests.support.deployment import Deployment
from tests.support.models import given_llama, written
from tests.support.stack import Stack

ROOT = Path(__file__).parents[3]


@dataclass
class Finished:
    """A command that has ended: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output, which has to be exactly one JSON document."""
        return msgspec.json.decode(self.out, type=dict[str, Any])


@dataclass
class Project:
    """A project of the test's own."""

    id: str
    key: str


Start = Callable[..., Awaitable[asyncio.subprocess.Process]]
Command = Callable[..., Awaitable[Finished]]


@pytest.fixture(scope="package")
def deployment(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The four services, running; audits only on request, and then about young objects too."""
    settings = {
        "SLIPWAY_RECONCILE_INTERVAL_S": "3600",
        "SLIPWAY_UNCLAIMED_FILES_AFTER_S": "0.1",
        "SLIPWAY_PURGE_PAUSES_S": "0.1",
    }
    deployment = Deployment(stack, tmp_path_factory.mktemp("services"), "cli", **settings)
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.stop()


@pytest.fixture
async def proxy(deployment: Deployment) -> AsyncIterator[GatewayProxy]:
    """The way to the gateway, with faults to order."""
    async with before_gateway(deployment.address) as proxy:
        yield proxy


@pytest.fixture
async def operator(deployment: Deployment) -> AsyncIterator[AsyncClient]:
    """The operator's client, not by way of the proxy."""
    async with AsyncClient(deployment.address, deployment.operator_key) as api:
        yield api


@pytest.fixture
async def project(operator: AsyncClient) -> Project:
    made = await operator.projects.create(f"cli {secrets.token_hex(4)}")
    key = await operator.projects.create_key(made.id)
    return Project(made.id, str(key.key))


@pytest.fixture
async def api(deployment: Deployment, project: Project) -> AsyncIterator[AsyncClient]:
    """A client of the project that looks at what the command has done, not by way of the proxy."""
    async with AsyncClient(f"{deployment.address}/{project.id}/v1", project.key) as api:
        yield api


@pytest.fixture
def credentials(deployment: Deployment, proxy: GatewayProxy, project: Project, tmp_path: Path) -> Path:
    """As `slipway up` writes it."""
    path = tmp_path / "credentials.json"
    document = {
        "base_url": f"{proxy.address}/{project.id}/v1",
        "project_id": project.id,
        "api_key": project.key,
        "operator_key": deployment.operator_key,
    }
    path.write_bytes(msgspec.json.encode(document))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory with a model, a folder in it, a name that needs quoting, and junk."""
    root = written(given_llama(), tmp_path / "model")
    (root / "1_Pooling").mkdir()
    (root / ".git").mkdir()
    (root / "1_Pooling" / "config.json").write_text("{}")
    (root / "notes 100%.txt").write_text("A name with a space and a percent sign.")
    (root / ".git" / "HEAD").write_text("ref: refs/heads/main")
    (root / ".DS_Store").write_bytes(b"\x00")
    return root


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of a model, of ten parts and more."""
    return packed(written(given_llama(), tmp_path / "archived"), tmp_path / "model.tar")


@pytest.fixture
def start(credentials: Path, tmp_path: Path) -> Start:
    """Start `slipway ARGUMENTS…` with the project's credentials."""

    async def start(*arguments: str | Path, stdin: int = asyncio.subprocess.PIPE) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "libs.cli",
            *map(str, arguments),
            cwd=ROOT,
            env=environment(SLIPWAY_CREDENTIALS=str(credentials), XDG_CACHE_HOME=str(tmp_path / "cache")),
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    return start


@pytest.fixture
def slipway(start: Start) -> Command:
    """Run `slipway ARGUMENTS…` to its end."""

    async def slipway(*arguments: str | Path) -> Finished:
        return await finished(await start(*arguments))

    return slipway


def environment(**variables: str) -> dict[str, str]:
    """Ours without the variables of Slipway, and with `variables`; output is wide, so that nothing is cut."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
    return {**kept, "COLUMNS": "120", **variables}


async def finished(process: asyncio.subprocess.Process) -> Finished:
    """What the process left, once it has ended."""
    out, err = await process.communicate()
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def frozen(deployment: Deployment, service: str) -> AsyncIterator[None]:
    """Within the block the service does nothing."""
    with deployment.frozen(service):
        yield


def packed(folder: Path, archive: Path) -> Path:
    """`folder` as a tar archive."""
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, arcname=".")
    return archive


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of a model below `folder`, by relative path."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    relative = {path.relative_to(folder).as_posix(): path for path in files}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in relative.items()
        if not name.startswith((".git/", ".DS_Store"))
    }


async def registered(api: AsyncClient, ran: Finished) -> dict[str, str]:
    """The SHA-256 of each file of the model that a command has uploaded, by relative path."""
    return {file.path: file.sha256 for file in await api.models.files(ran.json["model_id"]).all()}
