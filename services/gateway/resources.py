"""The resources of the gateway: a new one adds its folder, and its name here.

A resource has a module `routes` with ROUTES. It may have a module `handlers` with `handlers`, a table of the events
that it handles; and a module `sweepers` with `sweep(pool, config, now)`, one round over its deadlines.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Final

RESOURCES: Final = (
    "uploads",
    "imports",
    "secrets",
    "models",
    "catalog",
    "fireworks",
    "projects",
    "features",
    "members",
    "limits",
    "deletions",
    "admin",
)


def modules(name: str) -> Iterator[ModuleType]:
    """The module `name` of every resource that has one, in the order of RESOURCES."""
    for resource in RESOURCES:
        full_name = f"{__package__}.{resource}.{name}"
        if find_spec(full_name) is not None:
            yield import_module(full_name)
