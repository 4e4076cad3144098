"""Maps the error that a handler raised to what happens to its message. The only such table of the bus; pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

from libs.db import DatabaseAway
from libs.errors import NotFound, RateLimited, SlipwayError, Unavailable

BACKOFF_S = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)  # the last one repeats
AWAY_BACKOFF_S = (0.2, 1.0, 2.0, 5.0)  # our own database is down: every message waits, and resumes soon after
UNAVAILABLE_BACKOFF_S = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)  # possibly a problem of this message alone
UNAVAILABLE_PATIENCE_S = 3 * 86_400.0  # then the message becomes a dead letter, which is kept for a month
NEWER_BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # at each delivery a newer replica may receive it
NEWER_PATIENCE_S = 3 * 86_400.0  # the longest rollout; then what no replica can read becomes a dead letter
NOT_FOUND_PATIENCE_S = 3600.0  # the least time to wait for the thing that an event refers to


class NotKnownYet(SlipwayError):
    """This release cannot read the event; a replica of a newer release may."""


@dataclass(frozen=True)
class Retry:
    """Deliver the message again after `delay_s` seconds."""

    delay_s: float
    counted: bool  # whether the attempt counts towards max_deliver


@dataclass(frozen=True)
class GiveUp:
    """Terminate the message and keep a dead letter of it."""

    reason: str


def after_error(error: Exception, *, attempts: int, delivered: int, age_s: float, max_deliver: int) -> Retry | GiveUp:
    """Decide what happens to a message whose handler raised `error`.

    `attempts`: deliveries that count, including this one; `delivered`: all deliveries; `age_s`: seconds since the event
    happened, or since the broker received it where the event cannot be read.
    """
    if isinstance(error, NotKnownYet):
        if age_s >= NEWER_PATIENCE_S:
            return GiveUp(str(error))
        return Retry(_delay(NEWER_BACKOFF_S, delivered), counted=False)
    if isinstance(error, DatabaseAway):
        return Retry(_delay(AWAY_BACKOFF_S, delivered), counted=False)
    if isinstance(error, Unavailable | RateLimited):
        if delivered >= len(UNAVAILABLE_BACKOFF_S) + max_deliver and age_s >= UNAVAILABLE_PATIENCE_S:
            return GiveUp(str(error))
        return Retry(_delay(UNAVAILABLE_BACKOFF_S, delivered), counted=False)
    if isinstance(error, NotFound):  # the event may have overtaken the one that creates what it refers to
        if delivered >= max_deliver and age_s >= NOT_FOUND_PATIENCE_S:
            return GiveUp(str(error))
        return Retry(_delay(BACKOFF_S, delivered), counted=False)
    if isinstance(error, SlipwayError) and type(error) is not SlipwayError:
        return GiveUp(str(error))  # an error with a name of its own: repeating cannot help
    if attempts >= max_deliver:
        return GiveUp(f"{type(error).__name__}: {error} (tried {attempts} times)")
    return Retry(_delay(BACKOFF_S, attempts), counted=True)


def _delay(schedule: tuple[float, ...], attempt: int) -> float:
    """Seconds until the attempt after the `attempt`-th; varied by a fifth, so that messages do not return together."""
    seconds = schedule[min(attempt, len(schedule)) - 1]
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311  # no secret
