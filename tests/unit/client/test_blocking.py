"""Client is AsyncClient without an event loop: the same calls, arguments and descriptions."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from deploy.docs.blocking import RESOURCES
from libs.client import AsyncClient, Client

OPERATORS = {"projects", "operator"}  # for these there is `slipway admin`


def calls(kind: type[Any]) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


def test_both_have_the_same_calls() -> None:
    assert calls(Client) == calls(AsyncClient)


@pytest.mark.parametrize("name", sorted(calls(AsyncClient) - {"close"}))
def test_both_have_the_same_arguments_and_descriptions(name: str) -> None:
    asynchronous, blocking = getattr(AsyncClient, name), getattr(Client, name)

    assert inspect.signature(blocking) == inspect.signature(asynchronous)
    assert inspect.getdoc(blocking) == inspect.getdoc(asynchronous)


def test_both_have_the_same_resources() -> None:
    client = AsyncClient("http://h/v1", "key")
    resources = {name for name in vars(client) if not name.startswith("_")} - OPERATORS

    with Client("http://h/v1", "key") as blocking:
        assert {name for name in vars(blocking) if not name.startswith("_")} == resources
    assert {module for module, _ in RESOURCES} == resources


@pytest.mark.parametrize("module", [module for module, _ in RESOURCES])
def test_every_call_of_a_resource_is_described(module: str) -> None:
    resource = getattr(AsyncClient("http://h/v1", "key"), module)

    for name in calls(type(resource)):
        assert inspect.getdoc(getattr(resource, name)), f"{module}.{name}"
