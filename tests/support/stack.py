"""Postgres, NATS and an S3 server for the tests: real ones, on free ports, in a directory that goes with the session.

They run in an event loop of their own, in a thread, since each test has its own loop and they outlive all of them.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from deploy.local import server
from deploy.local.nats import Nats
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from deploy.local.process import Process
from deploy.local.s3 import BUCKET, S3
from deploy.local.server import Server
from libs.blobs import Blobs
from libs.blobs.transport import Refused

Name = Literal["postgres", "nats", "s3"]
STOP_WITHIN_S = 5.0

T = TypeVar("T")


class Stack:
    """The three dependencies, to be used and to be hurt.

    Whatever a test did to them, the next one finds them running.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="slipway-tests-"))
        self._postgres = Postgres(self.directory, free_port(), secrets.token_hex(16))
        self._nats = Nats(self.directory, free_port(), secrets.token_hex(16))
        self._s3 = S3(self.directory, free_port(), secrets.token_hex(8), secrets.token_hex(16))
        self._dependencies: dict[str, Server] = {each.name: each for each in (self._postgres, self._nats, self._s3)}
        self._processes: dict[str, Process] = {}
        self._loop = asyncio.new_event_loop()
        # The children are told to end when the thread that started them ends; a daemon ends with the process.
        self._thread = threading.Thread(target=self._loop.run_forever, name="embedded stack", daemon=True)
        self._thread.start()

    @property
    def postgres_url(self) -> str:
        return self._postgres.url

    @property
    def nats_url(self) -> str:
        return self._nats.url

    @property
    def s3_url(self) -> str:
        """With a bucket that every test shares; `bucket_url` gives one of a test's own."""
        return self._s3.url

    @property
    def s3_endpoint(self) -> str:
        """The address of the S3 server, without keys and bucket."""
        return f"http://{self._s3.url.rpartition('@')[2].partition('/')[0]}"

    def bucket_url(self, bucket: str) -> str:
        """The same server, another bucket."""
        return self._s3.url.removesuffix(BUCKET) + bucket

    def stored(self, bucket: str, prefix: str = "") -> dict[str, int]:
        """What a bucket holds: key -> size in bytes; for callers without an event loop."""
        return self.wait(self._stored(bucket, prefix))

    def remove_bucket(self, bucket: str) -> None:
        """Remove a bucket with all that is in it."""
        self.wait(self._remove_bucket(bucket))

    async def start(self, name: Name) -> None:
        """Start it again with its data, and return when it is ready. Does nothing if it runs."""
        await self._there(self._start(name))

    async def stop(self, name: Name) -> None:
        """End it in order; it stays away until `start`."""
        await self._there(self._processes[name].stop(STOP_WITHIN_S))

    async def kill(self, name: Name) -> None:
        """`kill -9`; it stays away until `start`."""
        await self._there(self._processes[name].kill())

    async def restart(self, name: Name) -> None:
        """`kill -9`, then start again with its data."""
        await self.kill(name)
        await self.start(name)

    @contextmanager
    def paused(self, name: Name) -> Iterator[None]:
        """Within the block it hangs: connections stay open, and nothing is answered."""
        pid = self._processes[name].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    async def lose_messages(self) -> None:
        """NATS comes back with an empty store: every stream, message and consumer is gone."""
        await self.kill("nats")
        await asyncio.to_thread(shutil.rmtree, self._nats.store)
        await self.start("nats")

    def heal(self) -> None:
        """Start whatever does not run; for fixtures, outside any event loop."""
        for name in self._dependencies:
            self.wait(self._start(name))

    def close(self) -> None:
        """End everything and remove the directory."""
        self.wait(self._stop_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        shutil.rmtree(self.directory)

    async def _start(self, name: str) -> None:
        process = self._processes.get(name)
        if process is None or process.returncode is not None:
            self._processes[name] = await server.start(self._dependencies[name])

    async def _stored(self, bucket: str, prefix: str) -> dict[str, int]:
        async with Blobs.open(self.bucket_url(bucket)) as blobs:
            return {info.key: info.size_bytes async for info in blobs.list(prefix)}

    async def _remove_bucket(self, bucket: str) -> None:
        await self._start("s3")  # a test may have stopped it
        async with Blobs.open(self.bucket_url(bucket)) as blobs:
            await blobs.abort_multiparts("")
            await blobs.delete([info.key async for info in blobs.list()])
            try:
                await blobs._transport.call("DELETE", None)
            except Refused as refused:
                if refused.s3_code != "BucketNotEmpty":  # a service that the test has not ended yet writes there
                    raise

    async def _stop_all(self) -> None:
        await asyncio.gather(*(process.stop(STOP_WITHIN_S) for process in self._processes.values()))

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work` in the loop that owns the processes."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the loop that owns the processes, and wait for it; for callers without an event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
