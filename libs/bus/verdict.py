"""What becomes of a message whose handler raised: the one table of errors of this edge. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

from libs.db import DatabaseAway
from libs.errors import NotFound, RateLimited, SlipwayError, Unavailable

BACKOFF_S = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)  # the last one repeats
AWAY_BACKOFF_S = (0.2, 1.0, 2.0, 5.0)  # our own database: everything waits for it, and is to go on soon after
UNAVAILABLE_BACKOFF_S = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)  # it may be this one message's alone
UNAVAILABLE_PATIENCE_S = 3 * 86_400.0  # then it is given up; its dead letter keeps it for a month
NEWER_BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # a newer replica may take it at each
NEWER_PATIENCE_S = 3 * 86_400.0  # how long a rollout may take before what nobody knows is given up
NOT_FOUND_PATIENCE_S = 3600.0  # how late what an event refers to may come, at least


class NotKnownYet(SlipwayError):
    """This release cannot read the event; it is left for a replica of a newer one."""


@dataclass(frozen=True)
class Retry:
    """Put it back; it comes again after `delay_s`."""

    delay_s: float
    counted: bool  # against max_deliver


@dataclass(frozen=True)
class Dead:
    """Give it up."""

    reason: str


def judge(error: Exception, *, attempts: int, delivered: int, age_s: float, max_deliver: int) -> Retry | Dead:
    """What to do after `error`.

    `attempts`: deliveries that count, this one included; `delivered`: all of them; `age_s`: since the event happened
    (where it cannot be read: since the broker has it).
    """
    if isinstance(error, NotKnownYet):
        if age_s >= NEWER_PATIENCE_S:
            return Dead(str(error))
        return Retry(_delay(NEWER_BACKOFF_S, delivered), counted=False)
    if isinstance(error, DatabaseAway):
        return Retry(_delay(AWAY_BACKOFF_S, delivered), counted=False)
    if isinstance(error, Unavailable | RateLimited):
        if delivered >= len(UNAVAILABLE_BACKOFF_S) + max_deliver and age_s >= UNAVAILABLE_PATIENCE_S:
            return Dead(str(error))
        return Retry(_delay(UNAVAILABLE_BACKOFF_S, delivered), counted=False)
    if isinstance(error, NotFound):  # the event may have come before the one that makes what it refers to
        if delivered >= max_deliver and age_s >= NOT_FOUND_PATIENCE_S:
            return Dead(str(error))
        return Retry(_delay(BACKOFF_S, delivered), counted=False)
    if isinstance(error, SlipwayError) and type(error) is not SlipwayError:
        return Dead(str(error))  # named: repeating it cannot help
    if attempts >= max_deliver:
        return Dead(f"{type(error).__name__}: {error} (tried {attempts} times)")
    return Retry(_delay(BACKOFF_S, attempts), counted=True)


def _delay(schedule: tuple[float, ...], attempt: int) -> float:
    """Seconds before the next attempt after the `attempt`-th; spread, so that a crowd does not return at once."""
    seconds = schedule[min(attempt, len(schedule)) - 1]
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311  # no secret
