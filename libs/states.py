"""State machines as tables: what a `states.py` of a service is made of.

A table is a tuple of transitions. Statements take their guards from it (`sql_in`), tests compare it with the CHECK
constraints of the migrations, and the pictures in the documentation are drawn from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

S = TypeVar("S", bound=str)  # a Literal of the states


class Transition(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """One way from one state to another: the function of the same name in `transitions.py` makes it."""

    name: str
    sources: tuple[S, ...]  # empty: the row is inserted
    target: S | None  # None: the row is deleted
    by: tuple[str, ...]  # who may make it: "client", "operator", "sweeper", or the name of a service
    because: str


def sql_in(states: Iterable[str]) -> str:
    """`states` for the right side of a comparison in SQL: "IN ('open', 'processing')".

    Literals, not parameters: only so can a statement use a partial index on a state.
    """
    return f"IN ({', '.join(repr(state) for state in states)})"
