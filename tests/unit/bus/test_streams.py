"""How streams and filters grow: what two releases need together, in no more patterns than overlap nowhere."""

from __future__ import annotations

from typing import Any

import pytest
from nats.js.api import StreamConfig

from libs.bus.streams import grown, union

DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (["a.b"], [], ["a.b"]),
        (["a.b"], ["a.c"], ["a.b", "a.c"]),
        (["a.>"], ["a.b", "a.b.c", "b.c"], ["a.>", "b.c"]),
        (["a.*"], ["a.b", "a.b.c"], ["a.*", "a.b.c"]),
        (["a.>"], ["a"], ["a", "a.>"]),
        (["a.*"], ["a.>"], ["a.>"]),
        (["dead.*.x.v1"], ["dead.gateway.x.v1"], ["dead.*.x.v1"]),
        ([">"], ["a", "b.>"], [">"]),
    ],
)
def test_a_union_holds_all_and_overlaps_nowhere(one: list[str], other: list[str], both: list[str]) -> None:
    assert union(one, other) == union(other, one) == both


def stream(*subjects: str, max_age: float = DAY_S, **rest: Any) -> StreamConfig:
    return StreamConfig(name="EVENTS", subjects=list(subjects), max_age=max_age, **rest)


def test_a_stream_that_has_all_that_is_wanted_is_left_alone() -> None:
    assert grown(stream("a.>", "b.>", max_age=2 * DAY_S), stream("a.>")) is None
    assert grown(stream("a.>", max_age=0), stream("a.>")) is None  # 0: for ever


def test_a_stream_gains_subjects_and_age_and_loses_none() -> None:
    change = grown(stream("a.>", max_age=DAY_S, description="by hand"), stream("b.>", max_age=2 * DAY_S))
    assert change is not None
    assert (change.subjects, change.max_age, change.description) == (["a.>", "b.>"], 2 * DAY_S, "by hand")


def test_older_and_newer_binding_in_turn_end_where_the_newer_one_wants_it() -> None:
    old, new = stream("a.>"), stream("a.>", "b.>", max_age=3 * DAY_S)
    present = grown(old, new)
    assert present is not None
    assert grown(present, old) is None
    assert grown(present, new) is None


def test_replicas_are_raised_and_never_lowered() -> None:
    raised = grown(stream("a.>", num_replicas=1), stream("a.>", num_replicas=3))
    assert raised is not None
    assert raised.num_replicas == 3
    assert grown(stream("a.>", num_replicas=3), stream("a.>", num_replicas=1)) is None


def test_a_size_is_raised_and_never_lowered() -> None:
    raised = grown(stream("a.>", max_bytes=100), stream("a.>", max_bytes=200))
    assert raised is not None
    assert raised.max_bytes == 200
    assert grown(stream("a.>", max_bytes=200), stream("a.>", max_bytes=100)) is None
    assert grown(stream("a.>", max_bytes=200), stream("a.>", max_bytes=-1)) is None  # a release that names none


@pytest.mark.parametrize("unlimited", [None, -1, 0])
def test_a_stream_without_a_size_gets_one_if_it_holds_no_more(unlimited: int | None) -> None:
    limited = grown(stream("a.>", max_bytes=unlimited), stream("a.>", max_bytes=100), held_bytes=100)
    assert limited is not None
    assert limited.max_bytes == 100
    assert grown(stream("a.>", max_bytes=unlimited), stream("a.>", max_bytes=100), held_bytes=101) is None
    assert grown(stream("a.>", max_bytes=unlimited), stream("a.>", max_bytes=-1)) is None
