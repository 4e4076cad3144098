"""The gateway's routes on a test's dependencies: the one way in which its tests serve them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from libs.db import connection
from libs.web import Authenticate, Principal, Route, make_app
from services.gateway.dependencies import Dependencies
from services.gateway.limits.rate import Rates
from services.gateway.limits.terms import UNLIMITED, Limits
from services.gateway.projects.access import ProjectKey
from services.gateway.projects.authentication import authenticate_by
from services.gateway.projects.identifiers import digest_of
from services.gateway.routes import ROUTES
from tests.integration.gateway.harness import PROJECT, Uploads

OPERATOR_KEY = "operator-key-of-the-tests"
KEY = "xero_test_secret"  # of PROJECT


async def any_key(_token: str) -> Principal:
    """Every token is a key of PROJECT."""
    return ProjectKey(project_id=PROJECT, project_slug="test", key_id="key", scopes=frozenset({"models"}))


@asynccontextmanager
async def serving(
    dependencies: Dependencies,
    *more: Route[Any],
    token: str | None = None,
    authenticate: Authenticate | None = None,
    limits: Limits = UNLIMITED,
) -> AsyncIterator[TestClient[Any, Any]]:
    """A client of all routes and some `more`, which sends `token`; without `authenticate`, keys are really checked.

    limits: of projects that have none of their own.
    """
    check = authenticate or authenticate_by(dependencies.pool, OPERATOR_KEY, limits)
    admit = Rates(dependencies.pool).admit
    app = make_app([*ROUTES, *more], authenticate=check, dependencies=dependencies, title="test", admit=admit)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with TestClient(TestServer(app), headers=headers) as client:
        yield client


@asynccontextmanager
async def with_a_key(uploads: Uploads) -> AsyncIterator[Uploads]:
    """The same gateway as a key of PROJECT sees it, with the real check of keys."""
    async with connection(uploads.pool) as tx:
        await tx.execute(
            """
            INSERT INTO api_key (id, project_id, sha256, prefix, scopes, role)
            VALUES ('key', $1, $2, 'xero_test', ARRAY['models'], 'member')
            """,
            PROJECT,
            digest_of(KEY),
        )
    async with serving(uploads.dependencies, token=KEY) as client:
        yield Uploads(client, uploads.dependencies)
