"""Members of a project, and what their keys may do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.integration.gateway.installation import PROJECTS, Installation


async def given_member(installation: Installation, project: Any, name: str = "Ann", role: str = "admin") -> Any:
    """A member of the project: an admin, unless said otherwise."""
    return await installation.operate("POST", f"/{project['id']}/members", 201, json={"name": name, "role": role})


async def may_share(installation: Installation, key: str) -> bool:
    """Whether the key counts as an admin's: else sharing is refused before the model is looked for."""
    url, headers = "/v1/models/nothing/share", {"Authorization": f"Bearer {key}"}
    async with installation.client.post(url, headers=headers) as response:
        code = (await response.json())["error"]["code"]
    assert code in ("permission_denied", "model_not_found")
    return bool(code == "model_not_found")


async def test_members_are_added_listed_changed_and_removed(installation: Installation) -> None:
    project = await installation.given_project("mine")
    path = f"/{project['id']}/members"
    ann = await installation.operate("POST", path, 201, json={"name": "ann@example.com"})
    ben = await given_member(installation, project, "Ben")
    promoted = await installation.operate("PATCH", f"{path}/{ann['id']}", json={"role": "admin"})
    removed = await installation.operate("DELETE", f"{path}/{ben['id']}")
    again = await installation.operate("DELETE", f"{path}/{ben['id']}")
    listed = await installation.operate("GET", path)
    assert ann == {
        "id": ann["id"],
        "project_id": project["id"],
        "name": "ann@example.com",
        "role": "member",
        "created_at": ann["created_at"],
        "removed_at": None,
    }
    assert ann["created_at"].endswith("Z")
    assert promoted == ann | {"role": "admin"}
    assert removed["removed_at"]
    assert again == removed == ben | {"removed_at": removed["removed_at"]}
    assert (listed["object"], listed["data"]) == ("list", [promoted, removed])


async def test_a_name_is_free_again_when_its_member_is_removed(installation: Installation) -> None:
    project, other = await installation.given_project("mine"), await installation.given_project("other")
    path = f"/{project['id']}/members"
    ann = await given_member(installation, project)
    await given_member(installation, other)
    taken = (await installation.operate("POST", path, 409, json={"name": "Ann"}))["error"]
    await installation.operate("DELETE", f"{path}/{ann['id']}")
    second = await given_member(installation, project)
    gone = (await installation.operate("PATCH", f"{path}/{ann['id']}", 409, json={"role": "admin"}))["error"]
    assert (taken["code"], taken["param"]) == ("conflict", "name")
    assert second["id"] != ann["id"]
    assert "removed" in gone["message"]


async def test_of_many_that_add_one_name_one_does(installation: Installation) -> None:
    path = f"{PROJECTS}/{(await installation.given_project('mine'))['id']}/members"
    headers = {"Authorization": "Bearer operator-key-of-the-tests"}

    async def add() -> int:
        async with installation.client.post(path, json={"name": "Ann"}, headers=headers) as response:
            return response.status

    assert sorted(await asyncio.gather(*(add() for _ in range(6)))) == [201, *[409] * 5]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": " Ann"}, "name"),
        ({"name": "x" * 255}, "name"),
        ({"name": "Ann", "role": "root"}, "role"),
    ],
)
async def test_a_member_has_a_name_and_a_role_that_there_is(
    installation: Installation, body: dict[str, str], param: str
) -> None:
    project = await installation.given_project("mine")
    error = (await installation.operate("POST", f"/{project['id']}/members", 400, json=body))["error"]
    assert error["param"] == param


async def test_a_key_of_a_member_can_do_no_more_than_the_member(installation: Installation) -> None:
    """The lesser of both roles counts, from the next request after a change on."""
    project = await installation.given_project("mine")
    path = f"/{project['id']}/members"
    ann = await given_member(installation, project)
    admin = await installation.given_key(project, member_id=ann["id"])
    member = await installation.given_key(project, member_id=ann["id"], role="member")
    nobodys = await installation.given_key(project)
    counts = {}
    for role in ("admin", "member", "admin"):
        await installation.operate("PATCH", f"{path}/{ann['id']}", json={"role": role})
        counts[role] = [await may_share(installation, key) for key in (admin, member, nobodys)]
    assert counts == {"admin": [True, False, True], "member": [False, False, True]}
    shown = (await installation.operate("GET", f"/{project['id']}/keys"))["data"]
    assert [each["member_id"] for each in shown] == [ann["id"], ann["id"], None]


async def test_removing_a_member_ends_their_keys_and_no_others(installation: Installation) -> None:
    project = await installation.given_project("mine")
    ann, ben = [await given_member(installation, project, name) for name in ("Ann", "Ben")]
    hers = [await installation.given_key(project, member_id=ann["id"]) for _ in range(2)]
    others = [await installation.given_key(project, member_id=ben["id"]), await installation.given_key(project)]
    for key in (*hers, *others):
        await installation.call(key, "GET", "models")
    await installation.operate("DELETE", f"/{project['id']}/members/{ann['id']}")
    for key in hers:
        assert (await installation.refused(key, "GET", "models", 401))["code"] == "authentication_error"
    for key in others:
        await installation.call(key, "GET", "models")
    keys = (await installation.operate("GET", f"/{project['id']}/keys"))["data"]
    assert [each["revoked_at"] is not None for each in keys] == [True, True, False, False]


async def test_a_key_that_a_removed_member_still_has_is_refused(installation: Installation) -> None:
    """Even if it was made in the moment of the removal, and is itself not revoked."""
    project = await installation.given_project("mine")
    ann = await given_member(installation, project)
    key = await installation.given_key(project, member_id=ann["id"])
    await installation.operate("DELETE", f"/{project['id']}/members/{ann['id']}")
    async with installation.pool.acquire() as tx:
        await tx.execute("UPDATE api_key SET revoked_at = NULL")
    await installation.refused(key, "GET", "models", 401)


async def test_a_key_that_its_member_could_not_use_is_not_made(installation: Installation) -> None:
    project, other = await installation.given_project("mine"), await installation.given_project("other")
    ben = await given_member(installation, project, "Ben", "member")
    gone = await given_member(installation, project, "Gone")
    theirs = await given_member(installation, other)
    await installation.operate("DELETE", f"/{project['id']}/members/{gone['id']}")

    async def refusal(status: int, **wanted: Any) -> Any:
        error = (await installation.operate("POST", f"/{project['id']}/keys", status, json=wanted))["error"]
        return error["code"], error["param"]

    assert await refusal(400, member_id=ben["id"], role="admin") == ("invalid_request", "role")
    assert await refusal(409, member_id=gone["id"]) == ("conflict", None)
    assert await refusal(404, member_id=theirs["id"]) == ("not_found", "member_id")
    assert await refusal(404, member_id="nobody") == ("not_found", "member_id")
    made = await installation.operate("POST", f"/{project['id']}/keys", 201, json={"member_id": ben["id"]})
    assert (made["member_id"], made["role"]) == (ben["id"], "member")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/proj_0000000000/members", None),
        ("POST", "/proj_0000000000/members", {"name": "Ann"}),
        ("PATCH", "/{mine}/members/{theirs}", {"role": "admin"}),
        ("DELETE", "/{mine}/members/{theirs}", None),
        ("DELETE", "/{mine}/members/nobody", None),
    ],
)
async def test_what_is_not_in_the_project_is_not_found(
    installation: Installation, method: str, path: str, body: Any
) -> None:
    project, other = await installation.given_project("mine"), await installation.given_project("other")
    theirs = await given_member(installation, other)
    path = path.format(mine=project["id"], theirs=theirs["id"])
    assert (await installation.operate(method, path, 404, json=body))["error"]["code"] == "not_found"
    assert (await installation.operate("GET", f"/{other['id']}/members"))["data"] == [theirs]


async def test_members_are_the_operators_matter(installation: Installation) -> None:
    project = await installation.given_project("mine")
    key = await installation.given_key(project)
    path = f"{PROJECTS}/{project['id']}/members"
    for method in ("GET", "POST"):
        await installation.refused(key, method, path, 403, json={"name": "Ann"})
    for method in ("PATCH", "DELETE"):
        await installation.refused(key, method, f"{path}/x", 403, json={"role": "admin"})
