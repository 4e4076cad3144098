"""Azurite, Microsoft's emulator of Azure Blob Storage: from npm, once for each machine, outside of the repository."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from deploy.local import server
from deploy.local.ports import free_port
from deploy.local.process import Program
from deploy.local.server import greeting
from libs.remote.azure import API_VERSION, shared_key

VERSION = "3.35.0"
INSTALL_WITHIN_S = 170
ACCOUNT = "testaccount"
ACCOUNT_KEY = base64.b64encode(b"account-key-of-the-tests").decode()
CONTAINER = "models"
FOLDER = "llama/tiny"


def azurite_binary() -> Path:
    """The program that serves blobs. Skips the test where it cannot be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Azurite needs node and npm, which are not here")
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path(tempfile.gettempdir()) / "slipway-tests-cache")) / "azurite"
    program = folder / VERSION / "node_modules" / ".bin" / "azurite-blob"
    if not program.exists():
        _install(folder, program)
    return program


def _install(folder: Path, program: Path) -> None:
    """Into a folder of its own, renamed when it is whole: several test runs may do so at once."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=folder))
    command = ("npm", "install", "--no-audit", "--no-fund", "--loglevel=error", f"azurite@{VERSION}")
    try:
        subprocess.run(command, cwd=unfinished, check=True, capture_output=True, timeout=INSTALL_WITHIN_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        pytest.skip(f"npm cannot install Azurite here: {type(error).__name__}")
    with contextlib.suppress(OSError):  # another run was faster
        unfinished.rename(program.parents[2])


@dataclass
class Azurite:
    """The emulator as a server of the embedded stack's kind."""

    folder: Path
    port: int
    binary: Path
    name: str = "azurite"

    async def prepare(self) -> None:
        self.folder.mkdir(exist_ok=True)

    def program(self) -> Program:
        argv = (
            *(str(self.binary), "--blobHost", "127.0.0.1", "--blobPort", str(self.port)),
            *("--location", str(self.folder), "--silent", "--disableTelemetry"),
        )
        env = {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{ACCOUNT_KEY}", "PATH": os.environ["PATH"]}
        return Program(self.name, argv, self.folder / "log", self.folder / "pid", env, cwd=self.folder)

    async def ready(self) -> bool:
        request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        return (await greeting(self.port, request)).startswith(b"HTTP/1.1 4")


@dataclass
class AzureSource:
    """A container with a model; what an import names is its folder FOLDER."""

    host: str  # http://127.0.0.1:PORT, as the setting lists it

    @property
    def endpoint(self) -> str:
        return f"{self.host}/{ACCOUNT}"

    @property
    def source(self) -> str:
        return f"https://{ACCOUNT}.blob.core.windows.net/{CONTAINER}/{FOLDER}"

    def secret(self, name: str = "source") -> dict[str, Any]:
        """The body of POST secrets."""
        return {"name": name, "type": "azure", "account_key": ACCOUNT_KEY}

    def wanted(self, name: str = "tiny", **more: Any) -> dict[str, Any]:
        """The body of POST uploads/import."""
        told = {"model_name": name, "source": self.source, "endpoint": self.endpoint, "secret": "source"}
        return told | more

    async def put(self, files: Mapping[str, bytes], folder: str = FOLDER) -> None:
        """Store files in a folder."""
        for path, content in files.items():
            headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
            await self._send("PUT", f"/{quote(f'{folder}/{path}', safe='/~')}", content, headers)

    async def make_container(self) -> None:
        """Create the container."""
        await self._send("PUT", "?restype=container", b"", {})

    async def _send(self, method: str, rest: str, content: bytes, headers: Mapping[str, str]) -> None:
        url = f"{self.endpoint}/{CONTAINER}{rest}"
        sent = {
            **headers,
            "x-ms-version": API_VERSION,
            "x-ms-date": format_datetime(datetime.now(UTC), usegmt=True),
        }
        signed = {**sent, **({"Content-Length": str(len(content))} if content else {})}
        sent["Authorization"] = shared_key(method, url, signed, ACCOUNT_KEY)
        async with (
            aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session,
            session.request(method, URL(url, encoded=True), data=io.BytesIO(content), headers=sent) as response,
        ):
            assert response.status == 201, await response.text()


@asynccontextmanager
async def azurite(folder: Path, port: int | None = None) -> AsyncIterator[AzureSource]:
    """Run the emulator with an empty container. Skips the test where it cannot be had."""
    each = Azurite(folder, port or free_port(), azurite_binary())
    process = await server.start(each)
    try:
        source = AzureSource(f"http://127.0.0.1:{each.port}")
        await source.make_container()
        yield source
    finally:
        await process.stop(within_s=5)
