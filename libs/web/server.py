"""Serves an application on a socket; at the end, requests under way are finished first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from aiohttp import web

from libs import telemetry
from libs.errors import Invalid
from libs.web.errors import error_response, internal_error_response

log = logging.getLogger("web")

KEEPALIVE_S = 75.0  # longer than a proxy's usual 60 s, so that the proxy closes first and never meets a closed door
READ_BYTES = 64 * 1024  # of a body whose handler is slower than its client; twice that, and one read, are held
CUT_S = 0.25  # for a handler whose request was cut off to end by itself, before it is cancelled
MAX_LINE_BYTES = 32 * 1024  # a path of 4,096 characters, each percent-encoded from UTF-8


class _Protocol(web.RequestHandler):
    """aiohttp's protocol, with our envelope for what never became a request."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The response where there was no valid request, or the middleware failed; then the connection is closed."""
        if request.writer.output_size > 0:
            raise ConnectionResetError("the answer had begun")
        with telemetry.bind(request_id=telemetry.new_request_id()) as context:
            if status < 500:
                reason = (message or "it could not be parsed").strip().splitlines()[0].rstrip(":")
                log.info("malformed request: %s", reason, extra={"remote": request.remote})
                response = error_response(Invalid(f"This is not a valid HTTP request: {reason}.", retryable=False))
            else:
                log.error("unforeseen error outside of any route", exc_info=exc)
                response = internal_error_response()
        response.headers["x-request-id"] = str(context.request_id)
        response.force_close()
        return response

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109  # as aiohttp calls it
        """Let the request under way end within `timeout`; then cut it off: aiohttp would wait that long once more."""
        try:
            async with asyncio.timeout(None if timeout is None else timeout + CUT_S):
                await super().shutdown(timeout)
        except TimeoutError:
            if self._task_handler is not None:
                self._task_handler.cancel()
            self.force_close()


@asynccontextmanager
async def serve(app: web.Application, host: str, port: int, *, drain_s: float = 30.0) -> AsyncIterator[int]:
    """Serve `app` on host:port (0: a free one); yields the port.

    At the end no new connection is accepted, idle ones are closed, and requests under way have `drain_s` to
    finish, then are cancelled. A client that vanishes cancels its handler too.
    """
    loop = asyncio.get_running_loop()
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=drain_s)
    await runner.setup()

    def protocol() -> _Protocol:
        return _Protocol(
            cast("web.Server", runner.server),  # made by setup()
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # none, as AppRunner's own is none
            keepalive_timeout=KEEPALIVE_S,
            read_bufsize=READ_BYTES,
            lingering_time=0,  # the edge does that: it knows whose body is worth reading away
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            auto_decompress=False,  # a body is kept as it came: an archive is not unpacked because of a header
        )

    try:
        server = await loop.create_server(protocol, host, port, backlog=1024)
        try:
            bound: int = server.sockets[0].getsockname()[1]
            log.info("listening on %s:%d", host, bound, extra={"port": bound})
            yield bound
        finally:
            server.close()
    finally:
        await runner.cleanup()
