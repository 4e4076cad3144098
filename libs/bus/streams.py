"""The streams, as code: created where they are missing, extended where they lack something, never narrowed.

During a rollout two releases share streams and consumers, and bind to them in any order: what one of them needs stays.

A stream may have a largest size. Where it is full, its oldest messages go, which every consumer has had for days unless
it was away for as long: the outbox keeps them as well, and whoever waits for one asks again. To refuse new ones instead
would stop every service until an operator comes, for the sake of messages that nobody will read.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from libs.contracts import EVENT_FAMILIES
from libs.outbox import KEEP_PUBLISHED

NO_ROOM = 10047  # NATS' code: its own limit of storage is smaller than what all streams may have together
_DAY_S = 86_400.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stream:
    """The subjects that one stream holds, and for how long."""

    name: str
    subjects: tuple[str, ...]
    max_age_s: float

    def config(self, namespace: str, replicas: int = 1, max_bytes: int = 0) -> StreamConfig:
        """The configuration for NATS, with the installation's prefix; `max_bytes`: at most so large, 0: no limit."""
        return StreamConfig(
            name=stream_name(namespace, self.name),
            subjects=[prefixed(namespace, subject) for subject in self.subjects],
            retention=RetentionPolicy.LIMITS,
            max_age=self.max_age_s,
            max_bytes=max_bytes or -1,
            discard=DiscardPolicy.OLD,
            storage=StorageType.FILE,
            num_replicas=replicas,
            duplicate_window=120.0,  # a courtesy: the inbox is the guarantee
        )


STREAMS = (
    Stream("EVENTS", tuple(f"{family}.>" for family in EVENT_FAMILIES), KEEP_PUBLISHED.total_seconds()),
    Stream("DEAD", ("dead.>",), 30 * _DAY_S),
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


def union(*patterns: Iterable[str]) -> list[str]:
    """The fewest patterns that hold every subject of `patterns`; NATS accepts no overlapping ones."""
    every = {pattern for each in patterns for pattern in each}
    return sorted(each for each in every if not any(_covers(other, each) for other in every - {each}))


def grown(present: StreamConfig, wanted: StreamConfig, held_bytes: int = 0) -> StreamConfig | None:
    """`present`, extended by what `wanted` has beyond it; None if it has nothing.

    A stream without a largest size gets that of `wanted`, if that is not less than the `held_bytes` that it has.
    Settings that neither names stay as the operator has set them.
    """
    subjects = union(present.subjects or (), wanted.subjects or ())
    max_age = _longer(present.max_age or 0, wanted.max_age or 0)
    replicas = max(present.num_replicas or 1, wanted.num_replicas or 1)
    max_bytes = _size(present.max_bytes, wanted.max_bytes, held_bytes)
    is_so = (set(present.subjects or ()), present.max_age or 0, present.num_replicas or 1, _or_none(present.max_bytes))
    if is_so == (set(subjects), max_age, replicas, _or_none(max_bytes)):
        return None
    return present.evolve(subjects=subjects, max_age=max_age, num_replicas=replicas, max_bytes=max_bytes)


async def ensure_streams(
    js: JetStreamContext, namespace: str, replicas: int = 1, max_bytes: Mapping[str, int] | None = None
) -> None:
    """Create every stream that is missing, and extend those that hold less than `STREAMS` says.

    max_bytes: the largest size of streams, by name; of others, and with 0: no limit.
    Raises: nats.errors.Error where JetStream does not answer, or refuses.
    """
    for stream in STREAMS:
        wanted = stream.config(namespace, replicas, (max_bytes or {}).get(stream.name, 0))
        try:
            info = await js.stream_info(stream_name(namespace, stream.name))
        except NotFoundError:
            await _if_there_is_room(js.add_stream, wanted)
            continue
        change = grown(info.config, wanted, info.state.bytes)
        if change is not None:
            await _if_there_is_room(js.update_stream, change, otherwise=info.config.max_bytes)


async def _if_there_is_room(
    apply: Callable[[StreamConfig], Awaitable[object]], config: StreamConfig, *, otherwise: int | None = None
) -> None:
    """Apply a configuration; without its largest size, or with `otherwise`, if the broker has no room to promise it."""
    try:
        await apply(config)
    except APIError as error:
        if error.err_code != NO_ROOM or _or_none(config.max_bytes) is None:
            raise
        log.warning(
            "NATS has no room for a stream %s of %d bytes; it is left without that limit", config.name, config.max_bytes
        )
        await apply(config.evolve(max_bytes=_or_none(otherwise) or -1))


async def ensure_consumer(js: JetStreamContext, stream: str, wanted: ConsumerConfig) -> list[str]:
    """Create or change a durable consumer: at least the subjects of `wanted`, and its other settings.

    Returns the subjects that it has gained; it does not deliver what was stored under them before, see `send_again`.
    Raises: nats.errors.Error where JetStream does not answer, or refuses.
    """
    name = str(wanted.durable_name)
    try:
        present = (await js.consumer_info(stream, name)).config
    except NotFoundError:
        await js.add_consumer(stream, wanted)
        return []
    held = present.filter_subjects or ([present.filter_subject] if present.filter_subject else [])
    subjects = union(held, wanted.filter_subjects or ()) if held else []  # a consumer without a filter takes everything
    settings = ("ack_wait", "max_deliver", "max_ack_pending")
    same = all(getattr(present, each) == getattr(wanted, each) for each in settings)
    if not same or set(subjects) != set(held):
        await js.add_consumer(stream, wanted.evolve(filter_subjects=subjects))
    return [each for each in subjects if not any(_covers(other, each) for other in held)]


async def send_again(js: JetStreamContext, stream: str, subject: str) -> int:
    """Store again what the stream holds of `subject`, for a consumer that is past it. Returns how many messages.

    Consumers that have applied them know their ids. Raises: nats.errors.Error where JetStream does not answer.
    """
    state = (await js.stream_info(stream)).state
    seq, count = max(state.first_seq, 1), 0
    while seq <= state.last_seq:
        try:
            found = await js.get_msg(stream, seq=seq, subject=subject, next=True)
        except NotFoundError:
            break
        if (found.seq or 0) > state.last_seq:
            break
        seq = (found.seq or seq) + 1
        headers = dict(found.headers or {})
        msg_id = f"{headers.get('Nats-Msg-Id', found.seq)}#late"  # the broker drops an id that it has just seen
        await js.publish(str(found.subject), found.data or b"", headers={**headers, "Nats-Msg-Id": msg_id})
        count += 1
    return count


def _covers(pattern: str, subject: str) -> bool:
    """Whether `pattern` holds all that `subject`, a pattern too, does."""
    words, others = pattern.split("."), subject.split(".")
    for position, word in enumerate(words):
        if word == ">":
            return len(others) > position
        if position >= len(others) or others[position] == ">" or word not in ("*", others[position]):
            return False
    return len(words) == len(others)


def _or_none(max_bytes: int | None) -> int | None:
    """A largest size; None for no limit, which NATS has several words for."""
    return max_bytes if max_bytes is not None and max_bytes > 0 else None


def _size(present: int | None, wanted: int | None, held_bytes: int) -> int | None:
    """The larger size; `wanted` where there is no limit at present, and nothing would be lost."""
    is_now, is_to_be = _or_none(present), _or_none(wanted)
    if is_to_be is None:
        return present
    if is_now is None:
        return is_to_be if is_to_be >= held_bytes else present
    return max(is_now, is_to_be)


def _longer(one_s: float, other_s: float) -> float:
    """The larger age; 0 is without a limit."""
    return max(one_s, other_s) if one_s and other_s else 0.0
