"""What the operator switches on and off for a project."""

from __future__ import annotations

import pytest

from tests.integration.gateway.installation import Installation

NOWHERE = "/proj_0000000000/features"


async def test_a_new_project_has_no_feature_and_gets_what_the_operator_enables(installation: Installation) -> None:
    project = await installation.given_project("mine", sharing=False)
    other = await installation.given_project("other", sharing=False)
    path = f"/{project['id']}/features"
    off = {"feature": "model_sharing", "enabled": False, "enabled_at": None}
    before = await installation.operate("GET", path)
    on = await installation.operate("PUT", f"{path}/model_sharing")
    again = await installation.operate("PUT", f"{path}/model_sharing")
    listed = await installation.operate("GET", path)
    untouched = await installation.operate("GET", f"/{other['id']}/features")
    closed = [await installation.operate("DELETE", f"{path}/model_sharing") for _ in range(2)]
    assert (before["object"], before["data"]) == ("list", [off])
    assert on["enabled"] is True
    assert on["enabled_at"].endswith("Z")
    assert (again, listed["data"], untouched["data"], closed) == (on, [on], [off], [off, off])


async def test_a_feature_holds_from_the_next_request_on(installation: Installation) -> None:
    project = await installation.given_project("mine")
    key = await installation.given_key(project)
    await installation.given_model(project, "m1")
    await installation.call(key, "POST", "models/m1/share")
    await installation.operate("DELETE", f"/{project['id']}/features/model_sharing")
    assert (await installation.refused(key, "POST", "models/m1/unshare", 403))["code"] == "feature_not_enabled"
    await installation.operate("PUT", f"/{project['id']}/features/model_sharing")
    await installation.call(key, "POST", "models/m1/unshare")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_feature_that_there_is_not_is_named_with_those_there_are(
    installation: Installation, method: str
) -> None:
    project = await installation.given_project("mine")
    key = await installation.given_key(project)
    operator_only = await installation.refused(key, method, f"/admin/v1/projects/{project['id']}/features/x", 403)
    error = (await installation.operate(method, f"/{project['id']}/features/telepathy", 404))["error"]
    assert operator_only["code"] == "permission_denied"
    assert "'telepathy'" in error["message"]
    assert "model_sharing" in error["message"]


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("PUT", "/model_sharing"), ("DELETE", "/model_sharing")])
async def test_a_project_that_is_not_there_is_not_found(installation: Installation, method: str, path: str) -> None:
    error = (await installation.operate(method, NOWHERE + path, 404))["error"]
    assert (error["code"], "proj_0000000000" in error["message"]) == ("not_found", True)


async def test_a_feature_of_the_next_release_is_left_alone(installation: Installation) -> None:
    project = await installation.given_project("mine")
    key = await installation.given_key(project)
    async with installation.pool.acquire() as tx:
        await tx.execute("INSERT INTO project_feature (project_id, feature) VALUES ($1, 'telepathy')", project["id"])
    listed = await installation.operate("GET", f"/{project['id']}/features")
    assert [each["feature"] for each in listed["data"]] == ["model_sharing"]
    assert (await installation.call(key, "GET", "models"))["data"] == []
