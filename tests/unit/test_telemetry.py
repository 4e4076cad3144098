"""Log lines, trace context and metrics."""

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from libs import telemetry

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def written() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(written: io.StringIO) -> Iterator[logging.Logger]:
    """A logger whose lines end in `written`, in the format of a service."""
    handler = logging.StreamHandler(written)
    handler.setFormatter(telemetry.JsonFormatter("tester"))
    logger = logging.getLogger("telemetry-test")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def lines(written: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_line_says_when_who_what_and_for_whom(log: logging.Logger, written: io.StringIO) -> None:
    with telemetry.bind(request_id="req_1", traceparent=PARENT):
        log.info("stored %d bytes", 3, extra={"upload_id": "u"})
    [line] = lines(written)
    time = str(line.pop("time"))
    assert time.endswith("+00:00")
    assert line == {
        "level": "info",
        "service": "tester",
        "logger": "telemetry-test",
        "message": "stored 3 bytes",
        "request_id": "req_1",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "upload_id": "u",
    }


class Writes(io.StringIO):
    """Remembers what each call of `write` brought."""

    def __init__(self) -> None:
        super().__init__()
        self.each: list[str] = []
        self.written = asyncio.Event()

    def write(self, text: str) -> int:
        self.each.append(text)
        self.written.set()
        return super().write(text)


@pytest.fixture
def writes(log: logging.Logger) -> Writes:
    """What the handler of a service writes, at `log` instead of the plain one."""
    writes = Writes()
    handler = telemetry.LogHandler(writes)
    handler.setFormatter(telemetry.JsonFormatter("tester"))
    log.handlers = [handler]
    return writes


async def test_lines_of_one_moment_are_one_write(log: logging.Logger, writes: Writes) -> None:
    for number in range(100):
        log.info("%d", number)
    assert writes.each == []
    await writes.written.wait()
    assert [line["message"] for line in lines(writes)] == [str(number) for number in range(100)]
    assert len(writes.each) == 1


async def test_a_warning_is_written_at_once_with_what_came_before(log: logging.Logger, writes: Writes) -> None:
    log.info("before")
    log.warning("now")
    assert [line["message"] for line in lines(writes)] == ["before", "now"]


def test_without_a_loop_each_line_is_written(log: logging.Logger, writes: Writes) -> None:
    log.info("here")
    assert [line["message"] for line in lines(writes)] == ["here"]


def test_an_exception_is_in_its_line_whole(log: logging.Logger, written: io.StringIO) -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        log.exception("failed")
    [line] = lines(written)
    assert "ValueError: first\nsecond" in str(line["exception"])


@pytest.mark.parametrize("value", ["\udcff", "line\nbreak", {1, 2}, object(), b"\xff", {("a",): 1}])
def test_any_value_can_be_logged_in_one_line(log: logging.Logger, written: io.StringIO, value: object) -> None:
    log.info("value", extra={"value": value})
    assert len(lines(written)) == 1


def test_a_binding_ends_with_its_block_and_keeps_what_it_does_not_change() -> None:
    assert telemetry.current() == telemetry.Context()
    with telemetry.bind(request_id="outer", traceparent=PARENT):
        with telemetry.bind(request_id="inner"):
            assert telemetry.current() == telemetry.Context("inner", PARENT)
        assert telemetry.current() == telemetry.Context("outer", PARENT)
    assert telemetry.current() == telemetry.Context()


async def test_tasks_do_not_see_each_others_context() -> None:
    both = asyncio.Barrier(2)

    async def work(name: str) -> str | None:
        with telemetry.bind(request_id=name):
            await both.wait()
            return telemetry.current().request_id

    assert [*await asyncio.gather(work("a"), work("b"))] == ["a", "b"]


@pytest.mark.parametrize(
    "malformed",
    ["", "x", PARENT.upper(), PARENT[:-1], "00-" + "0" * 32 + "-00f067aa0ba902b7-01", PARENT + "\n", "01" + PARENT[2:]],
)
def test_a_malformed_traceparent_starts_a_trace_of_our_own(malformed: str) -> None:
    with telemetry.bind(traceparent=malformed) as context:
        assert context.traceparent is None
    child = telemetry.child_traceparent(malformed)
    with telemetry.bind(traceparent=child) as context:
        assert context.traceparent == child


def test_a_child_span_stays_in_its_parents_trace() -> None:
    version, trace_id, span_id, flags = telemetry.child_traceparent(PARENT).split("-")
    assert (version, trace_id, flags) == ("00", PARENT.split("-")[1], "01")
    assert span_id != PARENT.split("-")[2]


def test_metrics_are_named_with_their_units() -> None:
    telemetry.http_requests.labels("/x", "GET", "200").inc()
    telemetry.event_lag_seconds.labels("upload.opened.v1").observe(0.1)
    telemetry.outbox_depth.set(3)
    text = telemetry.metrics_text().decode()
    assert 'slipway_http_requests_total{method="GET",route="/x",status="200"} 1.0' in text
    assert "slipway_event_lag_seconds_bucket" in text
    assert "slipway_outbox_depth 3.0" in text


def test_after_setup_everything_a_process_says_is_json() -> None:
    """Warnings and the exception that ends it, too."""
    script = (
        "import logging, warnings\n"
        "from libs import telemetry\n"
        "telemetry.setup('tester', 'warning')\n"
        "logging.getLogger('x').info('too quiet')\n"
        "warnings.warn('old', stacklevel=1)\n"
        "raise RuntimeError('end')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["level"] for line in said] == ["warning", "critical"]
    assert said[1]["message"] == "RuntimeError: end"
    assert done.returncode == 1
