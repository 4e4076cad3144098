"""The interface of everything that the embedded stack runs: prepare, run, ask whether it is ready."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from deploy.local.errors import StartFailed
from deploy.local.logfile import tail
from deploy.local.process import Process, Program, how_it_ended

READY_WITHIN_S = 60.0
ASK_EVERY_S = 0.02


class Server(Protocol):
    """A dependency or a service. Its port and its data stay the same from one run to the next."""

    @property
    def name(self) -> str: ...

    async def prepare(self) -> None:
        """Create what it needs. Called before each run; idempotent."""

    def program(self) -> Program: ...

    async def ready(self) -> bool:
        """Whether it serves requests now."""


async def start(server: Server) -> Process:
    """Prepare and run `server`, and return when it is ready. Raises: StartFailed."""
    await server.prepare()
    process = await Process.start(server.program())
    try:
        await until_ready(server, process)
    except BaseException:
        await process.kill()
        raise
    return process


async def until_ready(server: Server, process: Process, within_s: float = READY_WITHIN_S) -> None:
    """Ask again and again until `server` is ready. Raises: StartFailed."""
    name, log = server.name, process.program.log
    try:
        async with asyncio.timeout(within_s):
            while not await server.ready():
                if process.returncode is not None:
                    ended = how_it_ended(await process.wait())
                    raise StartFailed(f"{name} ended with {ended} before it was ready; {_log_says(log)}")
                await asyncio.sleep(ASK_EVERY_S)
    except TimeoutError as error:
        raise StartFailed(f"{name} was not ready within {within_s:g} s; {_log_says(log)}") from error


def _log_says(log: Path) -> str:
    return f"its log {log} says:\n{tail(log)}"


async def greeting(port: int, request: bytes = b"") -> bytes:
    """The first bytes that a server on the loopback sends, after `request` if given; b"" if it sends none."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return b""
    try:
        writer.write(request)
        async with asyncio.timeout(1):
            return await reader.read(4096)
    except (OSError, TimeoutError):
        return b""
    finally:
        writer.close()
