"""The project's base, as answers refer to it."""

from __future__ import annotations

from libs.web import Request
from services.gateway.dependencies import Dependencies


def base_path(request: Request[Dependencies]) -> str:
    """The project's base as a URL path."""
    return f"/{request.principal.project_id}/v1"


def base_url(request: Request[Dependencies]) -> str:
    """The project's base as clients reach it."""
    dependencies = request.dependencies
    return (dependencies.config.public_url or request.origin()).rstrip("/") + base_path(request)
