"""JSON logs, trace context and metrics: one id finds the effects of a request in every service.

The context (`request_id`, W3C `traceparent`) is bound at an edge (a request, an event), written into every log line,
and carried on in the events that the work emits.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import random
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO

import msgspec
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest

# Trace context

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Context:
    """The request that the present task works for; None where there is none."""

    request_id: str | None = None
    traceparent: str | None = None  # https://www.w3.org/TR/trace-context/: 00-{trace id}-{parent id}-{flags}

    @property
    def trace_id(self) -> str | None:
        """The 32 hex digits that every step of one trace shares."""
        return self.traceparent.split("-")[1] if self.traceparent else None


_context: ContextVar[Context] = ContextVar("slipway_context", default=Context())  # noqa: B039  # Context is frozen


def current() -> Context:
    """The context of the present task."""
    return _context.get()


@contextmanager
def bind(*, request_id: str | None = None, traceparent: str | None = None) -> Iterator[Context]:
    """Set the context until the block ends; None leaves a value unchanged. A malformed `traceparent` is ignored."""
    changes: dict[str, str] = {}
    if request_id is not None:
        changes["request_id"] = request_id
    if traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
        changes["traceparent"] = traceparent
    token = _context.set(replace(_context.get(), **changes))
    try:
        yield _context.get()
    finally:
        _context.reset(token)


def new_request_id() -> str:
    """A random request id, e.g. "req_1f0c…" (128 bits)."""
    return f"req_{_hex(16)}"


def child_traceparent(parent: str | None) -> str:
    """A new span: in the trace of `parent` if that is valid, otherwise in a new trace."""
    if parent is not None and _TRACEPARENT.fullmatch(parent):
        _, trace_id, _, flags = parent.split("-")
        return f"00-{trace_id}-{_hex(8)}-{flags}"
    return f"00-{_hex(16)}-{_hex(8)}-01"


_random = random.Random()  # noqa: S311  # ids are no secrets, and asking the system for each costs a system call


def _hex(size_bytes: int) -> str:
    return f"{_random.getrandbits(8 * size_bytes):0{2 * size_bytes}x}"


# Logs

WRITE_AFTER_S = 0.02
_MOST_LINES = 256
_STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, service, logger, message, the context, `extra=` fields, exception."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line; values that JSON does not know appear as their `str`."""
        context = current()
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if context.request_id:
            line["request_id"] = context.request_id
        if context.trace_id:
            line["trace_id"] = context.trace_id
        line.update((name, value) for name, value in record.__dict__.items() if name not in _STANDARD_FIELDS)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        try:
            return msgspec.json.encode(line, enc_hook=str).decode()
        except (TypeError, ValueError):
            # Keys that JSON does not have, or a lone surrogate from a file name, which only an escape lets through.
            return json.dumps(line, default=str, skipkeys=True)


class LineBuffer(io.TextIOBase):
    """Writes lines that come shortly after each other in one system call, where an event loop runs.

    A line waits for at most `WRITE_AFTER_S`; without a loop (another thread, the end of the process) for nothing.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._lock = threading.Lock()  # the loop drains what other threads write too
        self._planned: asyncio.TimerHandle | None = None

    def write(self, line: str) -> int:
        """Take a line."""
        with self._lock:
            self._lines.append(line)
        return len(line)

    def flush(self) -> None:
        """Write what waits, soon."""
        if len(self._lines) < _MOST_LINES:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                pass
            else:
                self._planned = self._planned or loop.call_later(WRITE_AFTER_S, self.drain)
                return
        self.drain()

    def drain(self) -> None:
        """Write what waits, now."""
        self._planned = None
        with self._lock:
            lines, self._lines = self._lines, []
        self._stream.write("".join(lines))
        self._stream.flush()


class LogHandler(logging.StreamHandler[LineBuffer]):
    """Through a LineBuffer; from the level of warnings on a line is written at once."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(LineBuffer(stream))

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line."""
        super().emit(record)
        if record.levelno >= logging.WARNING:
            self.stream.drain()


def setup(service: str, level: str = "info") -> None:
    """Send every log record of this process, warnings and uncaught exceptions too, to stderr as JSON lines."""
    handler = LogHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # No line shows the caller's frame, thread or process, so they are not looked up.
    logging._srcfile = None  # as the logging HOWTO says under "Optimization"
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    logging.getLogger("uncaught").critical("%s: %s", kind.__name__, error, exc_info=(kind, error, traceback))


# Metrics

# From a cached read to a part of 100 MiB over a slow line, in seconds.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

http_requests = Counter("slipway_http_requests", "Requests answered.", ["route", "method", "status"])
http_seconds = Histogram("slipway_http_seconds", "From headers read to answer made.", ["route"], buckets=_SECONDS)
bytes_in = Counter("slipway_http_received_bytes", "Bytes of request bodies read.", ["route"])
bytes_out = Counter("slipway_http_sent_bytes", "Bytes of answers' bodies sent.", ["route"])
event_lag_seconds = Histogram(
    "slipway_event_lag_seconds", "From an event's `at` to its being handled.", ["type"], buckets=_SECONDS
)
handler_seconds = Histogram(
    "slipway_handler_seconds", "One delivery of an event, prepare and transaction.", ["type"], buckets=_SECONDS
)
retries = Counter("slipway_retries", "Deliveries put back to be tried again.", ["type", "error"])
dead_letters = Counter("slipway_dead_letters", "Events given up, kept on DEAD.", ["type"])
notifications = Counter("slipway_notifications", "NOTIFY statements sent, each for all signals of some milliseconds.")
refusals = Counter("slipway_outbox_refusals", "Times that the broker would not take an event.", ["type"])
relay_transactions = Counter("slipway_relay_transactions", "Transactions of the outbox's relay.", ["kind"])
outbox_refused = Gauge("slipway_outbox_refused", "Events that the broker will not take, until somebody sees to them.")
outbox_depth = Gauge("slipway_outbox_depth", "Events committed and not yet published.")

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus' text exposition format


def metrics_text() -> bytes:
    """Every metric of this process in Prometheus' text format."""
    return generate_latest(REGISTRY)
