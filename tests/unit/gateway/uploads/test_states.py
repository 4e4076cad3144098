"""The table of an upload's states holds together, and nothing beside it says what the states are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.states import Transition
from services.gateway.uploads import states, transitions
from services.gateway.uploads.states import BEGIN, ENDED, LIVE, STATES, TRANSITIONS, UploadTransition
from tests.support.statements import ROOT, statements_with

FOLDER = ROOT / "services/gateway/uploads"
NAMES = {id(value): name for name, value in vars(states).items() if isinstance(value, Transition)}


def test_every_state_is_reached_and_an_upload_ends_once() -> None:
    reached = {BEGIN.target}
    for _ in STATES:
        reached |= {each.target for each in TRANSITIONS if {*each.sources} & reached}
    assert reached == {*STATES}
    assert {*LIVE} | {*ENDED} == {*STATES}
    assert not {*ENDED} & {state for each in TRANSITIONS for state in each.sources}


@pytest.mark.parametrize("transition", TRANSITIONS, ids=lambda each: each.name)
def test_every_transition_is_made_by_the_function_of_its_name(transition: UploadTransition) -> None:
    assert hasattr(transitions, transition.name)
    makers = {name for name, made in _made_in(Path(transitions.__file__)) if made == NAMES[id(transition)]}
    assert makers == (set() if transition is BEGIN else {transition.name})


def test_only_transitions_change_the_state() -> None:
    changing = re.compile(r"UPDATE upload\s+SET\b[^;]*?\bstatus =", re.DOTALL)
    found = [each.partition(":")[0] for each in statements_with(changing, "services/gateway")]
    assert found == ["services/gateway/uploads/store/uploads.py"]
    movers = [path.name for path in sorted(FOLDER.rglob("*.py")) if "uploads.move(" in path.read_text()]
    assert movers == ["transitions.py"]


def test_no_statement_and_no_comparison_spells_a_state_out() -> None:
    """What the table says is said once: everything else has its names."""
    spelled = re.compile("|".join(f"^{state}$|'{state}'" for state in STATES))
    assert statements_with(spelled, "services/gateway/uploads", besides=["states.py", "schemas.py"]) == []


def _made_in(path: Path) -> Iterator[tuple[str, str]]:
    """(function, name of a transition) for every transition that a function of the module passes on."""
    for function in ast.parse(path.read_text()).body:
        if not isinstance(function, ast.AsyncFunctionDef):
            continue
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            for argument in call.args:
                if isinstance(argument, ast.Attribute) and argument.attr in NAMES.values():
                    yield function.name, argument.attr
