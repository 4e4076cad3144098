"""What becomes of a message whose handler raised: every row of the table."""

from __future__ import annotations

import pytest

from libs.bus.retries import (
    AWAY_BACKOFF_S,
    BACKOFF_S,
    NEWER_BACKOFF_S,
    NEWER_PATIENCE_S,
    NOT_FOUND_PATIENCE_S,
    UNAVAILABLE_BACKOFF_S,
    UNAVAILABLE_PATIENCE_S,
    GiveUp,
    NotKnownYet,
    Retry,
    after_error,
)
from libs.db import DatabaseAway
from libs.errors import (
    ArchiveRejected,
    ChecksumMismatch,
    Conflict,
    Forbidden,
    Invalid,
    ModelNotFound,
    NotFound,
    PartConflict,
    RateLimited,
    SlipwayError,
    Unavailable,
    WrongState,
)

MAX_DELIVER = 8


def decision(error: Exception, *, attempts: int = 1, delivered: int = 1, age_s: float = 0.0) -> Retry | GiveUp:
    return after_error(error, attempts=attempts, delivered=delivered, age_s=age_s, max_deliver=MAX_DELIVER)


@pytest.mark.parametrize("deliveries", [1, MAX_DELIVER, 100_000])
def test_an_outage_of_our_database_is_waited_for_however_long_it_takes(deliveries: int) -> None:
    answer = decision(DatabaseAway(), attempts=deliveries, delivered=deliveries, age_s=1e9)
    assert isinstance(answer, Retry)
    assert not answer.counted
    assert answer.delay_s <= 6


@pytest.mark.parametrize("error", [Unavailable("S3 is away"), RateLimited("S3 is away")])
def test_what_else_is_away_is_waited_for_for_days_with_pauses_of_minutes(error: Exception) -> None:
    soon, late = UNAVAILABLE_PATIENCE_S - 1, UNAVAILABLE_PATIENCE_S
    for deliveries, age_s in ((1, late), (MAX_DELIVER, late), (1000, soon)):  # a replayed event has its chances too
        answer = decision(error, attempts=deliveries, delivered=deliveries, age_s=age_s)
        assert isinstance(answer, Retry)
        assert not answer.counted
    longest = decision(error, delivered=1000, age_s=soon)
    assert isinstance(longest, Retry)
    assert longest.delay_s >= 240
    assert decision(error, delivered=1000, age_s=late) == GiveUp("S3 is away")


def test_what_only_a_newer_release_can_read_is_left_to_it_for_days() -> None:
    for deliveries in (1, 1000):
        answer = decision(NotKnownYet(), delivered=deliveries, age_s=NEWER_PATIENCE_S - 1)
        assert isinstance(answer, Retry)
        assert not answer.counted
    assert isinstance(decision(NotKnownYet(), age_s=NEWER_PATIENCE_S), GiveUp)


@pytest.mark.parametrize(
    "error",
    [Invalid(), Conflict(), ChecksumMismatch(), PartConflict(), WrongState(), ArchiveRejected(), Forbidden()],
    ids=lambda error: type(error).__name__,
)
def test_a_named_error_that_repeating_cannot_help_ends_it_at_once(error: SlipwayError) -> None:
    assert decision(error) == GiveUp(error.message)


@pytest.mark.parametrize("error", [NotFound(), ModelNotFound("no such model")])
def test_what_is_not_there_yet_may_be_late_by_an_hour(error: SlipwayError) -> None:
    late, too_late = NOT_FOUND_PATIENCE_S - 1, NOT_FOUND_PATIENCE_S
    assert decision(error, delivered=MAX_DELIVER, age_s=too_late) == GiveUp(error.message)
    for waiting in (decision(error, delivered=1, age_s=too_late), decision(error, delivered=1000, age_s=late)):
        assert isinstance(waiting, Retry)  # an old event that was replayed has its chances too
        assert not waiting.counted


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), KeyError("x"), SlipwayError("nobody knows")])
def test_an_error_without_a_name_is_tried_max_deliver_times(error: Exception) -> None:
    for attempts in range(1, MAX_DELIVER):
        answer = decision(error, attempts=attempts)
        assert isinstance(answer, Retry)
        assert answer.counted
    last = decision(error, attempts=MAX_DELIVER)
    assert isinstance(last, GiveUp)
    assert type(error).__name__ in last.reason
    assert str(error) in last.reason


def test_what_was_put_back_for_others_faults_does_not_use_up_the_attempts() -> None:
    assert isinstance(decision(ZeroDivisionError(), attempts=2, delivered=1000), Retry)


@pytest.mark.parametrize(
    ("error", "schedule"),
    [
        (Unavailable(), UNAVAILABLE_BACKOFF_S),
        (DatabaseAway(), AWAY_BACKOFF_S),
        (NotKnownYet(), NEWER_BACKOFF_S),
        (NotFound(), BACKOFF_S),
    ],
)
def test_pauses_grow_to_a_limit_and_are_spread(error: Exception, schedule: tuple[float, ...]) -> None:
    for delivered in range(1, 50):
        answer = decision(error, delivered=delivered)
        assert isinstance(answer, Retry)
        expected = schedule[min(delivered, len(schedule)) - 1]
        assert 0.8 * expected <= answer.delay_s <= 1.2 * expected
