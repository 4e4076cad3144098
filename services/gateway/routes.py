"""The public API: the routes of all resources."""

from __future__ import annotations

from typing import Final

from libs.web import Route
from services.gateway.dependencies import Dependencies
from services.gateway.resources import modules

ROUTES: Final[list[Route[Dependencies]]] = [route for module in modules("routes") for route in module.ROUTES]
