"""Every `upload.*` event is built in one place, next to the change that it tells of."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from libs.contracts import Event, event_type
from tests.support.statements import ROOT

BUILDER = "services/gateway/uploads/transitions.py"
EVENTS = {kind.__name__ for kind in Event.__subclasses__() if event_type(kind).startswith("upload.")}


def test_upload_events_are_built_by_transitions_and_nowhere_else() -> None:
    built = {
        (name, path.relative_to(ROOT).as_posix())
        for folder in ("services", "libs")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in _built_in(path)
    }
    assert built == {(name, BUILDER) for name in EVENTS}


def _built_in(path: Path) -> Iterator[str]:
    """The events of uploads that a module calls by their names, whatever it has imported them as."""
    tree = ast.parse(path.read_text())
    names = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in EVENTS
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in names:
            yield names[node.func.id]
        elif isinstance(node.func, ast.Attribute) and node.func.attr in EVENTS:
            yield node.func.attr
