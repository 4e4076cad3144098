"""An event loop in a thread of its own, and calls that wait for what happens there."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Generic, TypeVar

from libs.client.paging import AsyncItems

T = TypeVar("T")

_Closing = asyncio.Future[Coroutine[Any, Any, object]]  # its result is done last
_Running = concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, _Closing]]


class LoopThread:
    """A thread with an event loop; also usable where the caller's thread runs a loop, as in a notebook."""

    def __init__(self) -> None:
        """Returns when the loop runs."""
        self._running: _Running = concurrent.futures.Future()
        self._thread = threading.Thread(target=_serve, args=(self._running,), name="slipway", daemon=True)
        self._thread.start()
        self._loop, self._closing = self._running.result()
        self._closed = False
        self._lock = threading.Lock()  # what begins, begins before the end, which cancels it: nobody waits for ever

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` in the loop and wait for it.

        An interruption of the caller (Ctrl-C) cancels the work and lets it end before it is raised.
        Raises: what `work` raises; RuntimeError in a callback of the client, or when it is closed.
        """
        outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            task = self._loop.create_task(work)
            tasks.append(task)
            task.add_done_callback(lambda done: _settle(outcome, done))

        def cancel() -> None:
            tasks[0].cancel()

        self._begin(work, start)
        try:
            return outcome.result()
        except BaseException:
            if not outcome.done():  # it is the caller who was interrupted
                self._loop.call_soon_threadsafe(cancel)
                concurrent.futures.wait([outcome])
            raise

    def _begin(self, work: Coroutine[Any, Any, object], start: Callable[[], object]) -> None:
        """Raises: RuntimeError, if nothing can begin any more, or not from here."""
        with self._lock:
            in_callback = threading.current_thread() is self._thread
            if not in_callback and not self._closed:
                self._loop.call_soon_threadsafe(start)
                return
        work.close()
        raise RuntimeError(f"The client {'cannot be used in its own callbacks' if in_callback else 'is closed'}.")

    def finish(self, last: Coroutine[Any, Any, object]) -> None:
        """Do `last`, cancel what is under way, end the loop and its thread."""
        with self._lock:
            self._closed = True
            self._loop.call_soon_threadsafe(self._closing.set_result, last)
        if threading.current_thread() is not self._thread:  # else it is the garbage collector, which came by there
            self._thread.join()


class Items(Generic[T]):
    """A list that is read page by page while it is iterated: `for`, or `….all()` for all at once.

    Every iteration begins anew. Items that are created or deleted meanwhile neither hide nor repeat others.
    """

    def __init__(self, loop: LoopThread, items: AsyncItems[T]) -> None:
        self._loop = loop
        self._items = items

    def __iter__(self) -> Iterator[T]:
        after: Sequence[str] = ()
        while True:
            items, after = self._loop.run(self._items.page(after))
            yield from items
            if not after:
                return

    def all(self) -> list[T]:
        """Every item."""
        return list(self)


def _serve(running: _Running) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        closing: _Closing = loop.create_future()
        running.set_result((loop, closing))
        await (await closing)

    asyncio.run(serve())  # cancels what is under way, and ends the threads of the loop


def _settle(outcome: concurrent.futures.Future[T], done: asyncio.Task[T]) -> None:
    if done.cancelled():
        outcome.set_exception(concurrent.futures.CancelledError("The client was closed."))
    elif (error := done.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(done.result())
