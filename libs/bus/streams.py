"""The streams, as code: made where they are missing, brought up to date where they differ."""

from __future__ import annotations

from dataclasses import dataclass

from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

_DAY_S = 86_400.0


@dataclass(frozen=True)
class Stream:
    """What one stream holds, for how long."""

    name: str
    subjects: tuple[str, ...]
    retention: RetentionPolicy
    max_age_s: float  # 0: for ever

    def config(self, namespace: str) -> StreamConfig:
        """As NATS wants it, with the installation's prefix."""
        return StreamConfig(
            name=stream_name(namespace, self.name),
            subjects=[prefixed(namespace, subject) for subject in self.subjects],
            retention=self.retention,
            max_age=self.max_age_s,
            storage=StorageType.FILE,
            duplicate_window=120.0,  # a courtesy: the inbox is the guarantee
        )


_EVENT_FAMILIES = ("upload", "archive", "model", "object", "file", "batch", "endpoint", "replica", "shard")

STREAMS = (
    Stream("EVENTS", tuple(f"{family}.>" for family in _EVENT_FAMILIES), RetentionPolicy.LIMITS, 7 * _DAY_S),
    Stream("WORK", ("work.>",), RetentionPolicy.WORK_QUEUE, 0),
    Stream("DEAD", ("dead.>",), RetentionPolicy.LIMITS, 30 * _DAY_S),
)


def stream_name(namespace: str, name: str) -> str:
    """The name of a stream or consumer in this installation: "EVENTS" -> "ns_EVENTS"."""
    return f"{namespace}_{name}" if namespace else name


def prefixed(namespace: str, subject: str) -> str:
    """The subject in this installation: "upload.opened.v1" -> "ns.upload.opened.v1"."""
    return f"{namespace}.{subject}" if namespace else subject


def unprefixed(namespace: str, subject: str) -> str:
    """The inverse of `prefixed`."""
    return subject.removeprefix(f"{namespace}.") if namespace else subject


async def ensure_streams(js: JetStreamContext, namespace: str) -> None:
    """Make every stream be there as told above. Replicas and placement stay as the operator has set them.

    Raises: nats.errors.Error where JetStream does not answer, or refuses.
    """
    for stream in STREAMS:
        wanted = stream.config(namespace)
        try:
            present = (await js.stream_info(stream_name(namespace, stream.name))).config
        except NotFoundError:
            await js.add_stream(wanted)
            continue
        if (set(present.subjects or ()), present.max_age) != (set(wanted.subjects or ()), wanted.max_age):
            await js.update_stream(present.evolve(subjects=wanted.subjects, max_age=wanted.max_age))
