"""What services say of themselves is true: which events they handle and emit, and which tables they own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.docs.events import (
    ROOT,
    SERVICES,
    constructed,
    consumed,
    emitted,
    events_imported,
    package_file,
    service_package,
)
from libs.contracts import (
    EVENT_TYPES,
    ArchiveProgressed,
    Event,
    ObjectDeleted,
    ObjectMoved,
    event_type,
)

NAMES = {kind.__name__ for kind in EVENT_TYPES}
FILES = [path for service in SERVICES for path in sorted((ROOT / "services" / service).rglob("*.py"))]
OF_THE_PREVIOUS_RELEASE = {ArchiveProgressed}  # it emits them, this release does not
# No service handles them: they are a record, kept as long as the broker keeps events
FOR_OPERATORS = {ObjectDeleted, ObjectMoved}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@pytest.mark.parametrize("service", SERVICES)
def test_the_docstring_of_a_service_names_its_events_and_tables(service: str) -> None:
    path = package_file(service)
    text = path.read_text(encoding="utf-8")
    assert re.search(r"^Owns: \w", text, re.MULTILINE), f"{path.relative_to(ROOT)} does not say what the service owns"
    if text != service_package(service):
        pytest.fail(f"{path.relative_to(ROOT)} names other events or tables than the code has: run `make docs`")


by_event = pytest.mark.parametrize("kind", EVENT_TYPES, ids=event_type)


@by_event
def test_every_event_is_emitted(kind: type[Event]) -> None:
    if kind not in OF_THE_PREVIOUS_RELEASE and not any(kind in emitted(service) for service in SERVICES):
        pytest.fail(f"{kind.__name__}: no services/*/transitions.py, nor any other module of a service, constructs it")


@by_event
def test_every_event_is_handled(kind: type[Event]) -> None:
    if kind not in FOR_OPERATORS and not any(event_type(kind) in consumed(service) for service in SERVICES):
        pytest.fail(f"{kind.__name__}: no services/*/handlers.py handles it")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_name_the_events_that_are_emitted(path: Path) -> None:
    """A public function that constructs an event names it after "Emits:", or in its return type."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    service = path.relative_to(ROOT / "services").parts[0]
    of_service = {kind.__name__ for kind in emitted(service)}
    for function in _functions(tree):
        said = emits(function)
        untrue = sorted(said - of_service)
        assert untrue == [], f"{path.relative_to(ROOT)}: {function.name} does not emit {untrue}"
        if not function.name.startswith("_"):
            own = {kind.__name__ for kind in constructed(function, events_imported(tree))}
            returned = ast.unparse(function.returns) if function.returns else ""
            unsaid = sorted(name for name in own - said if not re.search(rf"\b{name}\b", returned))
            assert unsaid == [], f'{path.relative_to(ROOT)}: "Emits:" of {function.name} does not name {unsaid}'


def emits(function: Function) -> set[str]:
    """The events named after "Emits:" in a function's docstring."""
    docstring = ast.get_docstring(function) or ""
    paragraphs = re.findall(r"Emits: (.*?)(?:Raises:|Returns:|\n\n|\Z)", docstring, re.DOTALL)
    return {word for text in paragraphs for word in re.findall(r"\w+", text) if word in NAMES}


def _functions(tree: ast.Module) -> Iterator[Function]:
    """The functions and methods, without those within functions."""
    scopes: list[ast.Module | ast.ClassDef] = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
    return (node for scope in scopes for node in scope.body if isinstance(node, Function))
