"""The project's base, as answers refer to it."""

from __future__ import annotations

from libs.web import Call
from services.gateway.state import Gateway


def base_path(call: Call) -> str:
    """The project's base as a URL path."""
    return f"/{call.principal.project_id}/v1"


def base_url(call: Call) -> str:
    """The project's base as clients reach it."""
    state: Gateway = call.state
    return (state.config.public_url or call.origin()).rstrip("/") + base_path(call)
