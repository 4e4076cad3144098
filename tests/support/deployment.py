"""All of Slipway as processes, on the embedded stack: what end-to-end tests talk to, hurt, and look into."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import nats
import psutil
from nats.js.api import ConsumerInfo

from deploy.local import pidfiles, server
from deploy.local.ports import free_port
from deploy.local.services import NAMES, ServiceProcess
from deploy.local.supervisor import Supervisor
from libs.bus import stream_name
from libs.config import schema_name
from libs.contracts import keys
from libs.sealing import new_key
from tests.support.eventually import eventually_sync
from tests.support.stack import Name, Stack

NAMESPACE = "e2e"
CHUNK_BYTES = 64 * 1024
# So that what takes minutes in production takes seconds here.
HURRY = {
    "SLIPWAY_CHUNK_SIZE_BYTES": str(CHUNK_BYTES),
    "SLIPWAY_SWEEP_INTERVAL_S": "0.5",
    "SLIPWAY_STALE_AFTER_S": "3",
    "SLIPWAY_LEASE_S": "3",
    "SLIPWAY_POLL_S": "1",
    "SLIPWAY_PURGE_PAUSES_S": "1,2",
    "SLIPWAY_RECONCILE_INTERVAL_S": "5",
    "SLIPWAY_UNCLAIMED_FILES_AFTER_S": "10",
    "SLIPWAY_UNCLAIMED_PARTS_AFTER_S": "10",
    "SLIPWAY_MISSING_CONFIRM_S": "1",
}


class Deployment:
    """The four services, each started again when it dies, over a stack that tests may stop and start."""

    def __init__(self, stack: Stack, folder: Path, namespace: str = NAMESPACE, **settings: str) -> None:
        """`namespace`: of its schemas, streams and bucket; `settings`: variables of all services beside HURRY."""
        self.stack = stack
        self.namespace = namespace
        self.settings = settings
        self.folder = folder
        self.address = ""
        self.operator_key = secrets.token_hex(16)
        self.secrets_key = new_key()
        self.source_ports = [free_port() for _ in range(2)]  # of other stores that a test may start, to import from
        self.said: list[str] = []
        self._supervisor = Supervisor(self.said.append)

    def start(self) -> None:
        """Start every service; returns when all are ready."""
        ports = {name: free_port() for name in NAMES}
        self.address = f"http://127.0.0.1:{ports['gateway']}"
        services = [self._service(name, self.folder, ports[name]) for name in NAMES]
        self.stack.wait(self._supervisor.start(*services))

    def stop(self) -> None:
        """End every service."""
        self.stack.wait(self._supervisor.stop(within_s=8))

    @contextmanager
    def another_gateway(self, folder: Path, **settings: str) -> Iterator[str]:
        """Within the block, one more gateway beside the first: its address. `settings` are variables of its own."""
        port = free_port()
        gateway = self.stack.wait(server.start(self._service("gateway", folder, port, settings)))
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            self.stack.wait(gateway.stop(within_s=8))

    def kill(self, service: str) -> None:
        """`kill -9`; it is started again at once."""
        self._signal(service, signal.SIGKILL)

    @contextmanager
    def frozen(self, service: str) -> Iterator[None]:
        """Within the block, or until `thaw`, it does nothing; its connections stay open, its work is not given back."""
        self._signal(service, signal.SIGSTOP)
        try:
            yield
        finally:
            self.thaw(service)

    def thaw(self, service: str) -> None:
        """Let it go on."""
        self._signal(service, signal.SIGCONT)

    @contextmanager
    def without(self, dependency: Name) -> Iterator[None]:
        """Within the block the dependency is down; connections to it are refused."""
        asyncio.run(self.stack.kill(dependency))
        try:
            yield
        finally:
            asyncio.run(self.stack.start(dependency))

    @contextmanager
    def hanging(self, dependency: Name) -> Iterator[None]:
        """Within the block the dependency answers nothing; connections to it stay open."""
        with self.stack.paused(dependency):
            yield

    def restart(self, dependency: Name) -> None:
        """`kill -9`, and start it again with its data."""
        asyncio.run(self.stack.restart(dependency))

    def lose_messages(self) -> None:
        """NATS comes back with an empty store."""
        asyncio.run(self.stack.lose_messages())

    def sql(self, service: str, query: str, *arguments: object) -> list[Any]:
        """The rows of a query in a service's own schema."""

        async def fetch() -> list[Any]:
            settings = {"search_path": schema_name(self.namespace, service)}
            connection = await asyncpg.connect(self.stack.postgres_url, server_settings=settings)
            try:
                return list(await connection.fetch(query, *arguments))
            finally:
                await connection.close()

        return asyncio.run(fetch())

    def quiet(self) -> None:
        """Wait until every event that was emitted has been published and handled."""

        def look() -> None:
            for service in NAMES:
                waiting = self.sql(service, "SELECT type FROM outbox WHERE published_at IS NULL")
                assert waiting == [], f"{service} has yet to publish {waiting}"
            for consumer in self._consumers():
                left = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
                assert left == 0, f"{consumer.name} has yet to handle {left} events"

        eventually_sync(look)

    def _consumers(self) -> list[ConsumerInfo]:
        async def ask() -> list[ConsumerInfo]:
            client = await nats.connect(self.stack.nats_url)
            try:
                return await client.jetstream().consumers_info(stream_name(self.namespace, "EVENTS"))
            finally:
                await client.close()

        return asyncio.run(ask())

    def stored(self, project_id: str) -> dict[str, int]:
        """What is in storage for a project: key -> size in bytes."""
        return self.stack.stored(self.namespace, f"{project_id}/")

    def accounted(self, project_id: str) -> dict[str, int]:
        """What the gateway says is in storage for a project: objects of models, and of live uploads what has arrived.

        The parts of a multipart upload that is not complete are no objects.
        """
        blobs = self.sql("gateway", "SELECT key, size_bytes FROM blob WHERE project_id = $1", project_id)
        files = self.sql("gateway", _LIVE_FILES, project_id)
        tails = self.sql("gateway", _LIVE_TAILS, project_id)
        parts = {
            keys.part_key(project_id, row["upload_id"], row["stream"], row["number"], row["attempt"]): row["size_bytes"]
            for row in self.sql("gateway", _LIVE_PARTS, project_id)
        }
        return {row["key"]: row["size_bytes"] for row in (*blobs, *files, *tails)} | parts

    def settle(self, project_id: str, within_s: float = 60) -> None:
        """Wait until storage holds exactly what the gateway and lifecycle say, and every model has come to rest."""

        def look() -> None:
            stored = self.stored(project_id)
            assert stored == self.accounted(project_id)
            live = self.sql("lifecycle", "SELECT key FROM object WHERE project_id = $1 AND state = 'live'", project_id)
            assert {row["key"] for row in live} <= stored.keys()
            models = self.sql("gateway", _RESTLESS, project_id)
            assert models == [], f"still {models}"

        eventually_sync(look, within_s)

    def pid(self, service: str) -> int:
        """The process of a service; waits for it while it is being started again."""
        return int(self._process(service).pid)

    def _service(self, name: str, folder: Path, port: int, settings: Mapping[str, str] | None = None) -> ServiceProcess:
        told = {
            **HURRY,
            **self.settings,
            "SLIPWAY_DATABASE_URL": self.stack.postgres_url,
            "SLIPWAY_NATS_URL": self.stack.nats_url,
            "SLIPWAY_S3_URL": self.stack.bucket_url(self.namespace),
            "SLIPWAY_OPERATOR_KEY": self.operator_key,
            "SLIPWAY_SECRETS_KEY": self.secrets_key,
            "SLIPWAY_IMPORT_ENDPOINTS": ",".join(
                [self.stack.s3_endpoint, *(f"http://127.0.0.1:{port}" for port in self.source_ports)]
            ),
            "SLIPWAY_NAMESPACE": self.namespace,
            **(settings or {}),
        }
        return ServiceProcess(name, folder, port, told, self.said.append)

    def _signal(self, service: str, number: signal.Signals) -> None:
        self._process(service).send_signal(number)

    def _process(self, service: str) -> psutil.Process:
        pidfile = self.folder / "run" / f"{service}.pid"

        def running() -> psutil.Process:
            process = pidfiles.running_process(pidfile)
            assert process is not None, f"{service} is not running"
            return process

        return eventually_sync(running)


_LIVE_PARTS = """
    SELECT upload.id AS upload_id, stream.number AS stream, part.number, part.attempt, part.size_bytes
      FROM upload_part AS part
      JOIN upload_stream AS stream ON stream.id = part.stream_id
      JOIN upload ON upload.id = stream.upload_id
     WHERE upload.project_id = $1 AND upload.status IN ('open', 'processing')
"""
# A file of its own, or one of chunks that became one object and is being read for its sha256.
_LIVE_FILES = """
    SELECT coalesce(file.key, stream.key) AS key, file.size_bytes
      FROM upload_file AS file JOIN upload ON upload.id = file.upload_id
      LEFT JOIN upload_stream AS stream ON stream.upload_id = file.upload_id AND stream.number = file.number
     WHERE upload.project_id = $1 AND upload.status IN ('open', 'processing')
       AND (file.key IS NOT NULL OR stream.key IS NOT NULL)
"""
_LIVE_TAILS = """
    SELECT transfer.tail_key AS key, transfer.tail_bytes AS size_bytes
      FROM upload_transfer AS transfer JOIN upload ON upload.id = transfer.upload_id
     WHERE upload.project_id = $1 AND upload.status IN ('open', 'processing') AND transfer.tail_key IS NOT NULL
"""
_RESTLESS = """
    SELECT model.name, model.status
      FROM model LEFT JOIN upload ON upload.model_id = model.id
     WHERE model.project_id = $1 AND model.status NOT IN ('ready', 'error', 'deleting')
       AND upload.status IS DISTINCT FROM 'open'
"""
