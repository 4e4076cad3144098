"""Projects, keys and who calls: the operator's API on real Postgres."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from libs.db import Pool, connection
from libs.errors import Unauthenticated
from libs.web import Principal, Request, Response, Route
from services.gateway.projects.access import READ_MODELS, ProjectKey
from services.gateway.projects.authentication import authenticate_by
from services.gateway.projects.identifiers import digest_of
from tests.integration.gateway.serving import OPERATOR_KEY, serving
from tests.support.fixtures import PoolFor
from tests.support.plans import counted

PROJECTS = "/admin/v1/projects"


async def whoami(request: Request[Any]) -> Response:
    who = request.principal
    assert isinstance(who, ProjectKey)
    return Response({"project": who.project_id, "slug": who.project_slug, "scopes": sorted(who.scopes)})


WHOAMI = Route("GET", "whoami", whoami, summary="Who calls.", access=READ_MODELS)


class Operator:
    """An operator with a client, and whatever key somebody else would use."""

    def __init__(self, client: TestClient[Any, Any], pool: Pool) -> None:
        self.client = client
        self.pool = pool

    async def request(self, method: str, path: str, key: str = OPERATOR_KEY, **rest: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}"}
        async with self.client.request(method, path, headers=headers, **rest) as answer:
            return answer.status, await answer.json()

    async def given_project(self, name: str = "My Project") -> Any:
        status, project = await self.request("POST", PROJECTS, json={"name": name})
        assert status == 201
        return project

    async def given_key(self, project: Any, **wanted: Any) -> Any:
        status, key = await self.request("POST", f"{PROJECTS}/{project['id']}/keys", json=wanted)
        assert status == 201
        return key

    async def who(self, key: Any, base: str = "/v1") -> int:
        status, _ = await self.request("GET", f"{base}/whoami", key["key"])
        return status


@pytest.fixture
async def operator(pool_for: PoolFor) -> AsyncIterator[Operator]:
    pool = await pool_for("gateway")
    dependencies: Any = SimpleNamespace(pool=pool)  # all that these routes use of it
    async with serving(dependencies, WHOAMI) as client:
        yield Operator(client, pool)


async def test_a_project_has_an_id_and_a_slug_that_keys_can_hold(operator: Operator) -> None:
    project = await operator.given_project("Ünser Projekt №1")
    assert re.fullmatch(r"proj_[0-9A-HJKMNP-TV-Z]{10}", project["id"])
    assert project["slug"] == "unserprojektno1"
    assert project["created_at"].endswith("Z")
    assert project["revoked_at"] is None
    status, listed = await operator.request("GET", PROJECTS)
    assert (status, listed["data"]) == (200, [project])


async def test_names_that_look_alike_in_a_slug_get_slugs_of_their_own(operator: Operator) -> None:
    slugs = [(await operator.given_project(name))["slug"] for name in ("my project", "My-Project", "模型", "??")]
    assert slugs == ["myproject", "myproject2", "project", "project2"]


async def test_a_name_is_given_once_however_many_ask_at_the_same_time(operator: Operator) -> None:
    answers = await asyncio.gather(*(operator.request("POST", PROJECTS, json={"name": "same"}) for _ in range(8)))
    assert sorted(status for status, _ in answers) == [201, *[409] * 7]
    [project] = [body for status, body in answers if status == 201]
    [refusal, *_] = [body["error"] for status, body in answers if status == 409]
    assert (refusal["code"], refusal["param"]) == ("conflict", "name")
    assert project["id"] in refusal["message"]


@pytest.mark.parametrize("name", ["", " ", " padded", "tab\there", "line\n", "x" * 101, None, 3])
async def test_a_name_has_to_be_one(operator: Operator, name: object) -> None:
    status, body = await operator.request("POST", PROJECTS, json={"name": name})
    assert (status, body["error"]["param"]) == (400, "name")


async def test_a_key_is_shown_once_and_kept_as_its_digest(operator: Operator) -> None:
    project = await operator.given_project()
    key = await operator.given_key(project, name="ci")
    assert re.fullmatch(r"xero_myproject_[A-Za-z0-9]{40}", key["key"])
    assert key["key"].startswith(key["prefix"])
    assert len(key["prefix"]) < len(key["key"]) - 32
    _, listed = await operator.request("GET", f"{PROJECTS}/{project['id']}/keys")
    assert listed["data"] == [{name: value for name, value in key.items() if name != "key"}]
    async with connection(operator.pool) as tx:
        row = await tx.fetchrow("SELECT api_key::text AS whole, sha256 FROM api_key")
    assert row["sha256"] == digest_of(key["key"])
    assert key["key"] not in row["whole"]


async def test_a_key_is_a_members_with_every_scope_unless_asked_otherwise(operator: Operator) -> None:
    project = await operator.given_project()
    everything = await operator.given_key(project)
    assert (everything["scopes"], everything["role"]) == (["models", "files", "batches", "inference"], "member")
    half = await operator.given_key(project, scopes=["models:write", "models:read"])
    assert half["scopes"] == ["models:read", "models:write"]
    narrow = await operator.given_key(project, scopes=["files", "models", "files"], role="admin")
    assert (narrow["scopes"], narrow["role"]) == (["models", "files"], "admin")
    status, who = await operator.request("GET", "/v1/whoami", narrow["key"])
    assert (status, who) == (
        200,
        {"project": project["id"], "slug": "myproject", "scopes": ["files", "models"]},
    )


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({"scopes": ["everything"]}, "scopes[0]"),
        ({"scopes": []}, "scopes"),
        ({"role": "root"}, "role"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2099-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
    ],
)
async def test_a_key_that_could_not_be_used_is_not_made(operator: Operator, wanted: Any, param: str) -> None:
    project = await operator.given_project()
    status, body = await operator.request("POST", f"{PROJECTS}/{project['id']}/keys", json=wanted)
    assert (status, body["error"]["param"]) == (400, param)


async def test_a_key_opens_its_own_project_only(operator: Operator) -> None:
    mine, other = await operator.given_project("mine"), await operator.given_project("other")
    key = await operator.given_key(mine)
    assert await operator.who(key) == 200
    assert await operator.who(key, f"/{mine['id']}/v1") == 200
    there = await operator.request("GET", f"/{other['id']}/v1/whoami", key["key"])
    nowhere = await operator.request("GET", "/proj_0000000000/v1/whoami", key["key"])
    assert there == nowhere
    assert there[0] == 404


async def test_a_missing_scope_is_named(operator: Operator) -> None:
    key = await operator.given_key(await operator.given_project(), scopes=["batches"])
    status, body = await operator.request("GET", "/v1/whoami", key["key"])
    assert (status, body["error"]["code"]) == (403, "scope_required")
    assert "'models:read'" in body["error"]["message"]


async def test_revoking_a_key_works_from_the_next_request_on(operator: Operator) -> None:
    project = await operator.given_project()
    key, kept = await operator.given_key(project), await operator.given_key(project)
    assert await operator.who(key) == 200
    path = f"{PROJECTS}/{project['id']}/keys/{key['id']}"
    status, revoked = await operator.request("DELETE", path)
    assert status == 200
    assert revoked["revoked_at"]
    assert await operator.who(key) == 401
    assert await operator.who(kept) == 200
    assert await operator.request("DELETE", path) == (200, revoked)


async def test_an_expired_key_is_refused(operator: Operator) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    key = await operator.given_key(await operator.given_project(), expires_at=soon.isoformat())
    assert await operator.who(key) == 200
    async with connection(operator.pool) as tx:
        await tx.execute("UPDATE api_key SET expires_at = now() - interval '1 second'")
    assert await operator.who(key) == 401


async def test_revoking_a_project_ends_all_its_keys_and_makes_no_more(operator: Operator) -> None:
    project, other = await operator.given_project("gone"), await operator.given_project("stays")
    keys = [await operator.given_key(project), await operator.given_key(project)]
    kept = await operator.given_key(other)
    status, revoked = await operator.request("DELETE", f"{PROJECTS}/{project['id']}")
    assert status == 200
    assert revoked["revoked_at"]
    assert [await operator.who(key) for key in keys] == [401, 401]
    assert await operator.who(kept) == 200
    status, body = await operator.request("POST", f"{PROJECTS}/{project['id']}/keys", json={})
    assert (status, body["error"]["code"]) == (409, "conflict")


async def test_every_bad_key_gets_the_same_answer(operator: Operator) -> None:
    """Unknown, expired, revoked, of a revoked project: nobody can tell which."""
    project, closed = await operator.given_project("a"), await operator.given_project("b")
    revoked, expired = await operator.given_key(project), await operator.given_key(project)
    orphan = await operator.given_key(closed)
    await operator.request("DELETE", f"{PROJECTS}/{project['id']}/keys/{revoked['id']}")
    await operator.request("DELETE", f"{PROJECTS}/{closed['id']}")
    async with connection(operator.pool) as tx:
        await tx.execute("UPDATE api_key SET expires_at = now() WHERE id = $1", expired["id"])
    tokens = [revoked["key"], expired["key"], orphan["key"], expired["key"][:-1], "xero_a_x", "x", OPERATOR_KEY + "x"]
    answers = [await operator.request("GET", "/v1/whoami", token) for token in tokens]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0] == 401


async def test_the_operators_key_and_a_projects_open_their_own_doors_only(operator: Operator) -> None:
    key = await operator.given_key(await operator.given_project(), role="admin")
    assert (await operator.request("GET", PROJECTS, key["key"]))[0] == 403
    assert (await operator.request("GET", "/v1/whoami"))[0] == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{PROJECTS}/proj_0000000000/keys"),
        ("POST", f"{PROJECTS}/proj_0000000000/keys"),
        ("DELETE", f"{PROJECTS}/proj_0000000000"),
        ("DELETE", f"{PROJECTS}/proj_0000000000/keys/key_x"),
    ],
)
async def test_what_is_not_there_is_not_found(operator: Operator, method: str, path: str) -> None:
    status, body = await operator.request(method, path)
    assert (status, body["error"]["code"]) == (404, "not_found")


async def test_requests_that_come_at_a_time_are_authenticated_by_few_statements(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by one that began after it came in: a key that was revoked meanwhile is refused, the others are not."""
    project = await operator.given_project("busy")
    kept, revoked = [await operator.given_key(project) for _ in range(2)]
    assert await operator.who(revoked) == 200
    await operator.request("DELETE", f"{PROJECTS}/{project['id']}/keys/{revoked['id']}")
    authenticate = authenticate_by(operator.pool, OPERATOR_KEY)
    with counted(monkeypatch) as traffic:
        found = await asyncio.gather(
            *(authenticate(key["key"]) for key in (kept, revoked) for _ in range(50)), return_exceptions=True
        )
    assert [who.key_id for who in found[:50] if isinstance(who, Principal)] == [kept["id"]] * 50
    assert {type(who) for who in found[50:]} == {Unauthenticated}
    assert len(traffic.statements) == 1
