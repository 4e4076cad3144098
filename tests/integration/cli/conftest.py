"""A fake server, a model on disk, and the command itself as a process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from tests.integration.cli.server import KEY, OPERATOR_KEY, FakeSlipway, running

ROOT = Path(__file__).parents[3]


@dataclass
class Ran:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        """Standard output, which has to be exactly one JSON document."""
        return msgspec.json.decode(self.out, type=dict[str, object])


Start = Callable[..., Awaitable[asyncio.subprocess.Process]]
Slipway = Callable[..., Awaitable[Ran]]


@pytest.fixture
async def server() -> AsyncIterator[FakeSlipway]:
    async with running() as fake:
        yield fake


@pytest.fixture
def credentials(server: FakeSlipway, tmp_path: Path) -> Path:
    """As `slipway up` writes it."""
    path = tmp_path / "credentials.json"
    document = {"base_url": server.base_url, "project_id": "proj_TEST01", "api_key": KEY, "operator_key": OPERATOR_KEY}
    path.write_bytes(msgspec.json.encode(document))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory with a small file, a large one, one in a folder, and junk."""
    root = tmp_path / "model"
    (root / "1_Pooling").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "config.json").write_text('{"model_type": "bert"}')
    (root / "weights 100%.safetensors").write_bytes(bytes(range(256)) * 40)  # 10,240 bytes
    (root / "1_Pooling" / "config.json").write_text("{}")
    (root / ".git" / "HEAD").write_text("ref: refs/heads/main")
    (root / ".DS_Store").write_bytes(b"\x00")
    return root


@pytest.fixture
def start(credentials: Path, tmp_path: Path) -> Start:
    """Start `slipway ARGUMENTS…` with the fake server's credentials."""

    async def start(*arguments: str | Path) -> asyncio.subprocess.Process:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "libs.cli",
            *map(str, arguments),
            cwd=ROOT,
            env={
                **kept,
                "SLIPWAY_CREDENTIALS": str(credentials),
                "XDG_CACHE_HOME": str(tmp_path / "cache"),
                "COLUMNS": "120",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    return start


@pytest.fixture
def slipway(start: Start) -> Slipway:
    """Run `slipway ARGUMENTS…` to its end."""

    async def slipway(*arguments: str | Path) -> Ran:
        return await finished(await start(*arguments))

    return slipway


async def finished(process: asyncio.subprocess.Process) -> Ran:
    """What the process left, once it has ended."""
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())
