"""The table of a model's states holds together, and nothing beside it says what the states are."""

from __future__ import annotations

import pytest

from services.gateway.models import deletion, registration, transitions
from services.gateway.models.states import CREATE, STATES, TRANSITIONS, UNUSED
from tests.support.statements import spelled, statements_with

BACK = {"find_files", "restore"}  # to what a model was before
SETTLED = {"accept", "reject"}  # by one function, which has the verdict


def test_every_state_is_reached_but_those_that_are_kept_for_later() -> None:
    reached = {CREATE.target}
    for _ in STATES:
        reached |= {
            each.target
            for each in TRANSITIONS
            if each.name not in ("find_files", "restore") and {*each.sources} & reached
        }
    assert reached - {None} == {*STATES} - {*UNUSED}


@pytest.mark.parametrize("name", sorted({each.name for each in TRANSITIONS}))
def test_every_transition_is_a_function(name: str) -> None:
    function = "settle" if name in SETTLED else name
    assert any(hasattr(module, function) for module in (transitions, registration, deletion))


def test_no_statement_spells_a_state_out() -> None:
    """What the table says is said once: statements have its names filled in."""
    assert statements_with(spelled(STATES), "services/gateway/models", besides=["states.py"]) == []
