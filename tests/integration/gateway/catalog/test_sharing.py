"""Sharing and unsharing, with the documented bodies and errors."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.db import transaction
from services.gateway.models.states import STATES, USABLE
from services.gateway.models.store import deletion
from tests.integration.gateway.installation import Installation

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.mark.parametrize("status", USABLE)
async def test_a_usable_model_is_shared_and_unshared_as_documented(installation: Installation, status: str) -> None:
    project = await installation.given_project("mine")
    key = await installation.given_key(project)
    await installation.given_model(project, "m1", name="tiny", status=status)
    base = f"/{project['id']}/v1/models"

    shared = await installation.call(key, "POST", f"{base}/m1/share")
    while_shared = await installation.call(key, "GET", f"{base}/m1?extended=true")
    unshared = await installation.call(key, "POST", f"{base}/tiny/unshare")
    afterwards = await installation.call(key, "GET", f"{base}/m1?extended=true")

    assert TIME.fullmatch(shared["sharedAt"])
    assert shared == {"modelId": "m1", "shared": True, "sharedAt": shared["sharedAt"]}
    assert (while_shared["is_shared"], while_shared["catalog_role"]) == (True, "deployable")
    assert TIME.fullmatch(unshared["unsharedAt"])
    assert unshared == {"modelId": "m1", "shared": False, "unsharedAt": unshared["unsharedAt"]}
    assert (afterwards["is_shared"], afterwards["catalog_role"]) == (False, None)


async def test_sharing_again_answers_the_same(installation: Installation) -> None:
    project = await installation.given_project("mine")
    key = await installation.given_key(project)
    await installation.given_model(project, "m1")
    answers = await asyncio.gather(*(installation.call(key, "POST", "models/m1/share") for _ in range(5)))
    async with installation.pool.acquire() as tx:
        await tx.execute("UPDATE model SET shared_at = shared_at - interval '1 day'")
        moved = await tx.fetchval("SELECT shared_at FROM model")
    again = await installation.call(key, "POST", "models/m1/share")
    assert [each == answers[0] for each in answers] == [True] * 5
    assert again["sharedAt"] == moved.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("status", sorted({*STATES} - {*USABLE} - {"deleting"}))
async def test_a_model_that_cannot_be_used_is_not_shared(installation: Installation, status: str) -> None:
    project = await installation.given_project("mine")
    key = await installation.given_key(project)
    await installation.given_model(project, "m1")
    async with installation.pool.acquire() as tx:
        await tx.execute("UPDATE model SET deadline_at = now(), validation_id = 'v' WHERE id = 'm1'")
    await installation.turn("m1", status)
    error = await installation.refused(key, "POST", "models/m1/share", 400)
    assert (error["code"], error["type"]) == ("invalid_model_status", "invalid_request_error")
    assert f"'{status}'" in error["message"]


async def test_what_is_not_shared_is_not_unshared(installation: Installation) -> None:
    project = await installation.given_project("mine")
    key = await installation.given_key(project)
    await installation.given_model(project, "m1")
    error = await installation.refused(key, "POST", "models/m1/unshare", 400)
    assert error["code"] == "invalid_model_status"
    assert "not shared" in error["message"]


async def test_a_shared_model_is_unshared_whatever_its_status(installation: Installation) -> None:
    project = await installation.given_project("mine")
    key = await installation.given_key(project)
    await installation.given_model(project, "m1")
    await installation.call(key, "POST", "models/m1/share")
    await installation.turn("m1", "error")
    assert (await installation.call(key, "POST", "models/m1/unshare"))["shared"] is False


@pytest.mark.parametrize("action", ["share", "unshare"])
async def test_refusals_come_in_the_documented_order(installation: Installation, action: str) -> None:
    """Each step takes one reason away, and the next one shows: feature, role, model, status."""
    project = await installation.given_project("mine", sharing=False)
    other = await installation.given_project("other")
    await installation.given_model(other, "theirs")
    await installation.given_model(project, "broken", status="error", status_reason="a reason")
    member, admin = [await installation.given_key(project, role=role) for role in ("member", "admin")]
    scopeless = await installation.given_key(project, scopes=["files"])

    async def refusal(key: str, model_id: str, status: int) -> Any:
        error = await installation.refused(key, "POST", f"models/{model_id}/{action}", status)
        return error["code"], error["type"]

    assert await refusal(scopeless, "theirs", 403) == ("scope_required", "permission_error")
    for key in (member, admin):
        assert await refusal(key, "theirs", 403) == ("feature_not_enabled", "permission_error")
    await installation.operate("PUT", f"/{project['id']}/features/model_sharing")
    assert await refusal(member, "theirs", 403) == ("permission_denied", "permission_error")
    assert await refusal(admin, "theirs", 404) == ("model_not_found", "not_found_error")
    assert await refusal(admin, "broken", 400) == ("invalid_model_status", "invalid_request_error")


async def test_a_model_of_another_project_is_like_one_that_is_not_there(installation: Installation) -> None:
    project, other = await installation.given_project("mine"), await installation.given_project("other")
    mine, theirs = await installation.given_key(project), await installation.given_key(other)
    await installation.given_model(other, "theirs")
    await installation.call(theirs, "POST", "models/theirs/share")
    for action in ("share", "unshare"):
        there = await installation.refused(mine, "POST", f"models/theirs/{action}", 404)
        assert there == await installation.refused(mine, "POST", f"models/nothing/{action}", 404)


async def test_a_refusal_says_who_can_help(installation: Installation) -> None:
    project = await installation.given_project("mine", sharing=False)
    key = await installation.given_key(project, role="member")
    feature = await installation.refused(key, "POST", "models/m1/share", 403)
    await installation.operate("PUT", f"/{project['id']}/features/model_sharing")
    role = await installation.refused(key, "POST", "models/m1/share", 403)
    assert f"slipway admin features enable {project['id']} model_sharing" in feature["message"]
    assert "role 'admin'" in role["message"]


async def test_a_deleted_model_is_unshared_and_stays_so_when_it_is_restored(installation: Installation) -> None:
    project = await installation.given_project("mine")
    key = await installation.given_key(project)
    await installation.given_model(project, "m1")
    await installation.call(key, "POST", "models/m1/share")
    await installation.turn("m1", "active")
    async with transaction(installation.pool) as tx:
        now = datetime.now(UTC)
        await deletion.delete(tx, "m1", by="key", at=now, erase_at=now + timedelta(days=7))
    deleted = [
        await installation.refused(key, method, path, 404)
        for method, path in (
            ("POST", "models/m1/share"),
            ("POST", "models/m1/unshare"),
            ("GET", "models/m1/catalog-info"),
            ("GET", "catalog/m1"),
        )
    ]
    await installation.turn("m1", "ready")
    assert deleted == [deleted[0]] * 4
    assert deleted[0]["code"] == "model_not_found"
    assert (await installation.call(key, "GET", "catalog"))["data"] == []
