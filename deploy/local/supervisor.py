"""Starts servers together, starts each again when it ends, and stops them together within a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from deploy.local import server
from deploy.local.errors import CannotRun
from deploy.local.process import Process, how_it_ended
from deploy.local.server import Server

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0  # before a server that died is started again; doubled each time
STEADY_S = 10.0  # a server that ran this long starts with the first pause again

Say = Callable[[str], None]


class Supervisor:
    """A group of servers. `say` is called with a sentence when one ends, and what happens then."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._processes: dict[str, Process] = {}
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self, *servers: Server) -> None:
        """Start `servers` side by side; returns when all of them are ready.

        Raises: StartFailed, of the first that fails; the others are left to `stop`.
        """
        try:
            async with asyncio.TaskGroup() as starting:
                for each in servers:
                    starting.create_task(self._start(each))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def stop(self, within_s: float) -> None:
        """Stop all servers in parallel; those that have not ended after `within_s` seconds are killed."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(process.stop(within_s) for process in self._processes.values()))

    async def _start(self, each: Server) -> None:
        self._processes[each.name] = await server.start(each)
        self._keepers.append(asyncio.create_task(self._keep(each), name=f"keeper of {each.name}"))

    async def _keep(self, each: Server) -> None:
        """Start the server again, after growing pauses, whenever it ends, until cancelled."""
        clock = asyncio.get_running_loop().time
        pause_s = FIRST_PAUSE_S
        while True:
            began = clock()
            trouble: str | None = f"ended with {how_it_ended(await self._processes[each.name].wait())}"
            if clock() - began > STEADY_S:
                pause_s = FIRST_PAUSE_S
            while trouble:
                self._say(f"{each.name} {trouble}; starting it again in {pause_s:g} s")
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                trouble = await self._start_again(each)

    async def _start_again(self, each: Server) -> str | None:
        """Run it without waiting until it is ready, since what it needs may be down too. Returns: the error, if any."""
        try:
            await each.prepare()
            self._processes[each.name] = await Process.start(each.program())
        except (CannotRun, OSError) as error:
            return f"did not start ({error})"
        return None
