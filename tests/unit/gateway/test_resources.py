"""A resource is a folder and its name in a list: what is in the folder is served, handled and swept."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest

import services.gateway
from services.gateway.handlers import handlers
from services.gateway.resources import RESOURCES, modules
from services.gateway.routes import ROUTES

FOLDER = Path(services.gateway.__path__[0])


def test_every_folder_of_the_gateway_is_a_resource() -> None:
    folders = {path.name for path in FOLDER.iterdir() if (path / "__init__.py").exists()}
    assert folders == {*RESOURCES}, "services/gateway/resources.py lists the folders of services/gateway"


@pytest.mark.parametrize("resource", RESOURCES)
def test_every_resource_has_routes(resource: str) -> None:
    found = {module.__name__.split(".")[2] for module in modules("routes") if module.ROUTES}
    assert resource in found


def test_every_route_and_every_handler_of_a_resource_is_the_gateways() -> None:
    assert [route for module in modules("routes") for route in module.ROUTES] == ROUTES
    handled = {event for module in modules("handlers") for event in module.handlers.events}
    assert handled == {*handlers.events}


def test_every_sweeper_is_one_round_over_a_resource() -> None:
    for module in modules("sweepers"):
        assert list(inspect.signature(module.sweep).parameters) == ["pool", "config", "now"], module.__name__


def test_a_resource_says_which_events_it_consumes() -> None:
    for module in modules("handlers"):
        package = import_module(module.__name__.rpartition(".")[0])
        said = (package.__doc__ or "").partition("Consumes:")[2]
        unsaid = [tag for tag in module.handlers.events if tag.rpartition(".v")[0] not in said]
        assert unsaid == [], f'{package.__file__}: "Consumes:" does not name {unsaid}'
