"""The services of one release as processes, beside those of another: one database, one bus, one bucket for both."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg
import requests

from deploy.local.ports import free_port
from libs.bus import Bus
from libs.config import schema_name
from tests.e2e.client import Client, answered
from tests.support.bus import Stored, stored
from tests.support.eventually import eventually_sync
from tests.support.stack import Stack

ROOT = Path(__file__).parents[2]
PREVIOUS = Path(__file__).parent / "previous_release.txt"
WORKERS = ("extractor", "validator", "lifecycle")
SERVICES = ("gateway", *WORKERS)
WITHIN_S = 120
# So that what takes minutes in production takes seconds here; each release passes over what it does not know.
HURRY = {
    "CHUNK_SIZE_BYTES": "65536",
    "SWEEP_INTERVAL_S": "1",
    "LEASE_S": "5",
    "POLL_S": "1",
    "UNREADY_S": "0",
    "DRAIN_S": "2",
}


class HistoryMissing(Exception):
    """The commit of the previous release is not here, as in a tarball or a shallow clone."""


def previous_commit() -> str:
    """What previous_release.txt names."""
    [commit] = [line for line in PREVIOUS.read_text().splitlines() if line and not line.startswith("#")]
    return commit


def exported(commit: str, folder: Path) -> Path:
    """The code of `commit`, in `folder`. Raises: HistoryMissing, saying how to get it."""
    known = subprocess.run(
        ["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True, check=False
    )
    if known.returncode != 0:
        raise HistoryMissing(
            f"The previous release, {commit} of {PREVIOUS.relative_to(ROOT)}, is not in this clone: "
            "fetch the whole history (git fetch --unshallow)."
        )
    packed = folder / "release.tar"
    with packed.open("wb") as target:
        subprocess.run(["git", "archive", commit, "libs", "services"], cwd=ROOT, stdout=target, check=True)
    with tarfile.open(packed) as tar:
        tar.extractall(folder, filter="data")
    return folder


class Place:
    """Where releases meet: schemas, streams and a bucket of the test's own."""

    def __init__(self, stack: Stack, logs: Path) -> None:
        self.stack = stack
        self.namespace = f"t{secrets.token_hex(5)}"
        self.operator_key = secrets.token_hex(16)
        self.logs = logs

    def sql(self, service: str, *statements: str) -> list[asyncpg.Record]:
        """Run statements in a service's schema, in one transaction; the rows of the last."""

        async def run() -> list[asyncpg.Record]:
            settings = {"search_path": schema_name(self.namespace, service)}
            connection = await asyncpg.connect(self.stack.postgres_url, server_settings=settings)
            try:
                async with connection.transaction():
                    *first, last = statements
                    for statement in first:
                        await connection.execute(statement)
                    return list(await connection.fetch(last))
            finally:
                await connection.close()

        return asyncio.run(run())

    def on_stream(self, name: str) -> list[Stored]:
        """What a stream holds."""

        async def read() -> list[Stored]:
            async with Bus.open(self.stack.nats_url, self.namespace) as bus:
                await bus.session()
                return await stored(bus, name)

        return asyncio.run(read())

    def remove(self) -> None:
        """Drop the schemas and the bucket."""
        for service in SERVICES:
            self.sql("public", f'DROP SCHEMA IF EXISTS "{schema_name(self.namespace, service)}" CASCADE')
        self.stack.remove_bucket(self.namespace)


class Running:
    """One service of one release."""

    def __init__(self, place: Place, release: Path, service: str) -> None:
        self.service = service
        self.release = release
        self.address = f"http://127.0.0.1:{free_port()}"
        self._log = place.logs / f"{release.name}-{service}-{self.address.rpartition(':')[2]}.log"
        told = {
            **HURRY,
            "DATABASE_URL": place.stack.postgres_url,
            "NATS_URL": place.stack.nats_url,
            "S3_URL": place.stack.bucket_url(place.namespace),
            "NAMESPACE": place.namespace,
            "OPERATOR_KEY": place.operator_key,
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": self.address.rpartition(":")[2],
        }
        environment = {f"SLIPWAY_{name}": value for name, value in told.items()}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"services.{service}"],
                cwd=release,
                env={**environment, "PYTHONPATH": str(release), "PATH": os.environ["PATH"]},
                stdout=log,
                stderr=log,
            )

    def ready(self) -> None:
        """Return when it is."""

        def look() -> None:
            self.require_alive()
            assert requests.get(f"{self.address}/readyz", timeout=10).status_code == 200

        eventually_sync(look, WITHIN_S)

    def require_alive(self) -> None:
        """Raises: RuntimeError with the end of its log, if the process has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.release.name}'s {self.service} ended:\n{self.log()[-4000:]}")

    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """SIGTERM; or kill -9, if that does not help."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def running(place: Place, release: Path, *services: str) -> Iterator[dict[str, Running]]:
    """These services of a release, ready, within the block; and alive at its end."""
    with ExitStack() as stopping:
        started = {service: Running(place, release, service) for service in services}
        for each in started.values():
            stopping.callback(each.stop)
        for each in started.values():
            each.ready()
        yield started
        for each in started.values():
            each.require_alive()


def new_client(place: Place, gateway: Running) -> Client:
    """A project and a client of it."""
    operator = {"Authorization": f"Bearer {place.operator_key}"}
    projects = f"{gateway.address}/admin/v1/projects"
    project = answered(requests.post(projects, headers=operator, json={"name": place.namespace}, timeout=30))
    key = {"scopes": ["models"]}
    made = answered(requests.post(f"{projects}/{project['id']}/keys", headers=operator, json=key, timeout=30))
    return Client(gateway.address, project["id"], made["key"])


def through(client: Client, gateway: Running) -> Client:
    """The same project by way of another gateway."""
    return Client(gateway.address, client.project_id, client.key)
