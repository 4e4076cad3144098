"""The services as processes of this machine: `python -m services.NAME`, configured by their environment."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.local.process import Program
from deploy.local.server import greeting

NAMES = ("gateway", "extractor", "validator", "lifecycle")
ROOT = Path(__file__).parents[2]
PREFIX = "SLIPWAY_"
SHORT_DRAIN = {"SLIPWAY_UNREADY_S": "0", "SLIPWAY_DRAIN_S": "4"}  # no load balancer looks here, and a person waits
READYZ = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


class ServiceProcess:
    """One service on a loopback port.

    `settings` are variables of its environment; any other SLIPWAY_ variable of ours is passed on, so that
    `SLIPWAY_LOG_LEVEL=debug slipway up` does what it says.
    """

    def __init__(
        self, name: str, data_dir: Path, port: int, settings: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self.name = name
        self._data_dir = data_dir
        self._port = port
        self._settings = settings
        self._say = say

    async def prepare(self) -> None:
        """Does nothing: a service migrates its own schema and creates its own streams."""

    def program(self) -> Program:
        passed_on = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
        listen = {"SLIPWAY_HTTP_HOST": "127.0.0.1", "SLIPWAY_HTTP_PORT": str(self._port)}
        return Program(
            name=self.name,
            argv=(sys.executable, "-m", f"services.{self.name}"),
            env={"PYTHONPATH": str(ROOT), **SHORT_DRAIN, **passed_on, **self._settings, **listen},
            log=self._data_dir / "logs" / f"{self.name}.log",
            pidfile=self._data_dir / "run" / f"{self.name}.pid",
            notice=self._notice,
        )

    async def ready(self) -> bool:
        return (await greeting(self._port, READYZ)).startswith(b"HTTP/1.1 200")

    def _notice(self, line: str) -> None:
        """Pass lines with the level error on to `say`; all lines are in the log."""
        try:
            record = json.loads(line)
        except ValueError:
            return
        if isinstance(record, dict) and record.get("level") in ("error", "critical"):
            self._say(f"{self.name}: {record.get('message')}")
