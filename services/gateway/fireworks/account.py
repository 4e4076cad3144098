"""The account of a path: a project, by its id or its slug."""

from __future__ import annotations

from libs.errors import NotFound
from libs.web import Request
from services.gateway.dependencies import Dependencies


def account_of(request: Request[Dependencies]) -> str:
    """The account as the path names it: the project of the key. Raises: NotFound for any other."""
    account = request.params["account"]
    if account not in (request.principal.project_id, request.principal.project_slug):
        raise NotFound(
            f"There is no such account for this key; its account is {request.principal.project_id}, or "
            f"{request.principal.project_slug}.",
            retryable=False,
        )
    return account
