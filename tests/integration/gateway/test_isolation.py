"""No route of one project reaches another's model, file or object: every route of the table, with every wrong key."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from libs.db import connection
from libs.web import Route
from services.gateway.projects.access import OPERATOR, ProjectAccess
from services.gateway.projects.identifiers import digest_of
from services.gateway.routes import ROUTES
from tests.integration.gateway.harness import FILES, PROJECT, Uploads
from tests.integration.gateway.serving import OPERATOR_KEY, serving

OTHER = "proj_TESTTEST02"
KEYS = {  # token -> project, scopes, and what else is to be said of it
    "xero_test_good": (PROJECT, "{models,files,batches,inference}", "NULL", "NULL"),
    "xero_test_expired": (PROJECT, "{models,files,batches,inference}", "now() - interval '1 second'", "NULL"),
    "xero_test_revoked": (PROJECT, "{models,files,batches,inference}", "NULL", "now()"),
    "xero_test_files": (PROJECT, "{files}", "NULL", "NULL"),
    "xero_test_reader": (PROJECT, "{models:read}", "NULL", "NULL"),
    "xero_test_models": (PROJECT, "{models}", "NULL", "NULL"),
    "xero_other_good": (OTHER, "{models,files,batches,inference}", "NULL", "NULL"),
}
USELESS = {  # tokens that open nothing, as the header has them
    "none": None,
    "unknown": "Bearer xero_test_unknown",
    "expired": "Bearer xero_test_expired",
    "revoked": "Bearer xero_test_revoked",
    "of another form": "Basic eGVybzpnb29k",
    "empty": "Bearer ",
}
NOBODYS = "00000000-1111-4000-8111-000000000000"  # an id that nothing has

# What a route with this body may be sent: valid, so that nothing but the key decides.
BODIES: Mapping[str, dict[str, Any]] = {
    "CreateArchive": {"model_name": "theirs", "archive_size": 10, "archive_format": "tar"},
    "CreateAccountModel": {"modelId": "theirs"},
    "GetUploadEndpoint": {"filenameToSize": {"config.json": 2}},
    "CreateImport": {"model_name": "theirs", "source": "s3://models/theirs", "secret": "theirs"},
    "CreateSecret": {"name": "their-secret", "type": "s3", "access_key_id": "id", "secret_access_key": "key"},
    "CreateDirectory": {"model_name": "theirs", "files": [{"relative_path": "config.json", "size": 2}]},
    "UpdateModel": {"description": "theirs"},
}
QUERIES = {"PartQuery": "?part_number=0"}


@dataclass
class Owned:
    """What the project PROJECT has, by the names that the route table gives it."""

    uploads: Uploads
    client: TestClient[Any, Any]
    params: dict[str, list[str]] = field(default_factory=dict)  # by name of the parameter


@pytest.fixture
async def owned(uploads: Uploads) -> AsyncIterator[Owned]:
    """A model, an open archive and an open directory of PROJECT; OTHER has nothing. Keys are really checked."""
    async with connection(uploads.pool) as tx:
        await tx.execute("INSERT INTO project (id, name, slug) VALUES ($1, 'other', 'other')", OTHER)
        for token, (project, scopes, expires_at, revoked_at) in KEYS.items():
            await tx.execute(
                f"""
                INSERT INTO api_key (id, project_id, sha256, prefix, scopes, role, expires_at, revoked_at)
                VALUES ($1, $2, $3, $1, $4::text[], 'admin', {expires_at}, {revoked_at})
                """,
                token,
                project,
                digest_of(token),
                scopes.strip("{}").split(","),
            )
    secret = {"name": "secret-secret", "type": "s3", "access_key_id": "id", "secret_access_key": "key"}
    await uploads.call("POST", "secrets", 201, json=secret)
    done = await uploads.upload_directory(FILES, name="secret-model")
    await uploads.validate(done["model_id"])
    archive = (await uploads.open_archive(10, name="secret-archive"))["session_id"]
    directory = (await uploads.open_directory({"config.json": b"{}", "new.bin": b"new"}, name="secret-directory"))[
        "session_id"
    ]
    params = {
        "model_id": [done["model_id"], "secret-model"],
        "upload_id": [archive, directory],
        "path": ["config.json"],
        "account": [PROJECT, "test"],
        "model": ["secret-model", "secret-archive"],
        "secret_name": ["secret-secret"],
    }
    async with serving(uploads.dependencies) as client:
        yield Owned(uploads, client, params)


def of_projects() -> list[Route[Any]]:
    """The routes that a key of a project opens."""
    return [route for route in ROUTES if isinstance(route.access, ProjectAccess)]


def named(route: Route[Any]) -> list[str]:
    """The parameters of a route's path."""
    parts = route.path.replace(":path}", "}").split("{")[1:]
    return [part.partition("}")[0] for part in parts]


def paths(route: Route[Any], params: Mapping[str, list[str]]) -> Iterator[str]:
    """The route's path with every value of `params` in it, and its query."""
    names = named(route)
    assert set(names) <= set(params), f"say what {set(names) - set(params)} may be, for {route.path}"
    longest = max((len(params[name]) for name in names), default=1)
    for number in range(longest):
        path = route.path.replace(":path}", "}")
        for name in names:
            path = path.replace(f"{{{name}}}", params[name][number % len(params[name])])
        yield path + QUERIES.get(route.query.__name__ if route.query else "", "")


async def ask(
    client: TestClient[Any, Any], route: Route[Any], url: str, authorization: str | None
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of one request."""
    headers = {"Authorization": authorization} if authorization is not None else {}
    body: dict[str, Any] = {}
    if route.body is not None:
        assert route.body.__name__ in BODIES, f"give an example of {route.body.__name__}, for {route.path}"
        body = {"json": BODIES[route.body.__name__]}
    elif route.stream:
        body = {"data": b"other"}
    async with client.request(route.method, url, headers=headers, **body) as response:
        content = await response.read()
        answer = json.loads(content) if response.content_type == "application/json" else {"body": content.decode()}
        return response.status, answer


def code_of(answer: dict[str, Any]) -> object:
    """The code of an error, in whichever shape."""
    error = answer["error"]
    return error["details"][0]["reason"] if "details" in error else error["code"]


async def everything(owned: Owned) -> dict[str, Any]:
    """What the database and storage have of PROJECT."""
    state: dict[str, Any] = {"objects": await owned.uploads.stored()}
    async with connection(owned.uploads.pool) as tx:
        for table in await tx.fetch(
            """
            SELECT table_name, array_agg(column_name::text) AS columns FROM information_schema.columns
             WHERE table_schema = current_schema() GROUP BY table_name
            """
        ):
            name = table["table_name"]
            if "project_id" in table["columns"]:
                rows = await tx.fetch(f"SELECT to_jsonb(t)::text FROM {name} AS t WHERE project_id = $1", PROJECT)
            elif "upload_id" in table["columns"]:
                rows = await tx.fetch(
                    f"""
                    SELECT to_jsonb(t)::text FROM {name} AS t
                     WHERE upload_id IN (SELECT id FROM upload WHERE project_id = $1)
                    """,
                    PROJECT,
                )
            else:
                continue
            state[name] = sorted(row[0] for row in rows)
    return state


async def test_a_useless_key_opens_no_route_and_all_are_answered_alike(owned: Owned) -> None:
    wrong = []
    for route in [each for each in ROUTES if each.access is not None]:
        project = isinstance(route.access, ProjectAccess)
        params = owned.params if project else {name: [NOBODYS] for name in named(route)}
        for path in paths(route, params):
            for base in (f"/{PROJECT}/v1/", f"/{OTHER}/v1/", "/v1/") if project else ("",):
                answers = [await ask(owned.client, _bare(route), base + path, token) for token in USELESS.values()]
                if any(answer != answers[0] or answer[0] != 401 for answer in answers):
                    wrong.append((route.method, base + path, answers))
    assert wrong == []


async def test_a_key_without_the_scope_opens_no_route_that_needs_it(owned: Owned) -> None:
    wrong = []
    for route in of_projects():
        assert isinstance(route.access, ProjectAccess)
        if route.access.scope is None:
            continue
        token = "xero_test_files" if route.access.scope.startswith("models") else "xero_test_models"
        for path in paths(route, owned.params):
            status, answer = await ask(owned.client, _bare(route), f"/{PROJECT}/v1/{path}", f"Bearer {token}")
            if status != 403 or code_of(answer) != "scope_required":
                wrong.append((route.method, path, status, answer))
    assert wrong == []


async def test_a_key_that_may_only_read_changes_nothing(owned: Owned) -> None:
    before = await everything(owned)
    wrong = []
    for route in of_projects():
        assert isinstance(route.access, ProjectAccess)
        if route.access.scope is None:
            continue
        reads = route.method == "GET" and not route.path.endswith(":validateUpload")  # this GET makes a model READY
        for path in paths(route, owned.params):
            status, answer = await ask(owned.client, route, f"/{PROJECT}/v1/{path}", "Bearer xero_test_reader")
            if (status == 403 and code_of(answer) == "scope_required") is reads:
                wrong.append((route.method, path, status, answer))
    assert wrong == []
    assert await everything(owned) == before


async def test_each_kind_of_key_opens_its_own_doors_only(owned: Owned) -> None:
    """The operator's key opens no project, and no key of a project opens the operator's routes."""
    wrong = []
    for route in [each for each in ROUTES if each.access is not None]:
        project = isinstance(route.access, ProjectAccess)
        token = OPERATOR_KEY if project else "xero_test_good"
        params = owned.params if project else {name: [NOBODYS] for name in named(route)}
        for path in paths(route, params):
            url = f"/v1/{path}" if project else path
            status, answer = await ask(owned.client, _bare(route), url, f"Bearer {token}")
            if status != 403:
                wrong.append((route.method, path, status, answer))
    assert wrong == []
    assert any(route.access is OPERATOR for route in ROUTES)


async def test_a_key_of_another_project_finds_nothing(owned: Owned) -> None:
    """Below the owner's path every route is not found; below its own, what others have is as what nobody has."""
    before = await everything(owned)
    token = "Bearer xero_other_good"
    wrong: list[tuple[object, ...]] = []
    for route in of_projects():
        for path in paths(route, owned.params):
            status, answer = await ask(owned.client, route, f"/{PROJECT}/v1/{path}", token)
            if status != 404 or code_of(answer) != "not_found":
                wrong.append((route.method, path, status, answer))
        if not set(named(route)) - {"path"}:
            continue
        nobodys = {name: [NOBODYS] if name != "path" else owned.params["path"] for name in named(route)}
        for base in (f"/{OTHER}/v1/", "/v1/"):
            [nothing] = [await ask(owned.client, route, base + path, token) for path in paths(route, nobodys)]
            for path in paths(route, {name: owned.params[name] for name in named(route)}):
                found = await ask(owned.client, route, base + path, token)
                if found != nothing or found[0] < 400:
                    wrong.append((route.method, base + path, found, nothing))
    assert wrong == []
    assert await everything(owned) == before


async def test_lists_of_another_project_name_nothing_of_this_one(owned: Owned) -> None:
    names = {name for values in owned.params.values() for name in values} - {"config.json", "test"}
    names |= {PROJECT, "secret-"}
    wrong = []
    for route in of_projects():
        if named(route) or route.stream:
            continue
        status, answer = await ask(owned.client, route, f"/v1/{route.path}", "Bearer xero_other_good")
        text = json.dumps(answer)
        if status >= 500 or any(name in text for name in names):
            wrong.append((route.method, route.path, status, answer))
    assert wrong == []


async def test_every_object_lies_below_its_projects_prefix(owned: Owned) -> None:
    await owned.uploads.send_part(owned.params["upload_id"][0], 0, b"0123456789")
    stored = await owned.uploads.stored()
    assert stored
    assert all(key.startswith(f"{PROJECT}/") for key in stored)


def _bare(route: Route[Any]) -> Route[Any]:
    """The route as a client without a key knows it: what it would send does not matter."""
    return Route(route.method, route.path, route.handler, summary=route.summary, access=route.access)
