"""Limits are set by operators, per project and per key, and hold from the next request on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from libs.contracts import ProjectLimited
from services.gateway.limits.terms import Limits
from services.gateway.projects.access import ProjectKey
from tests.integration.gateway.harness import CHUNK, PROJECT, part
from tests.integration.gateway.limits.harness import KEY_LIMITS, LIMITS, Limited


async def test_a_project_has_the_defaults_until_it_has_limits_of_its_own(limited: Limited) -> None:
    config = limited.dependencies.config
    before = (await limited.show())["limits"]

    changed = (await limited.set(stored_bytes=5000, models="none", bodies_at_once=3))["limits"]
    unset = (await limited.set(stored_bytes=None))["limits"]

    assert before["stored_bytes"] == {"own": None, "default": None, "maximum": None}
    assert before["upload_bytes"] == {"own": None, "default": config.max_model_bytes, "maximum": config.max_model_bytes}
    assert changed["stored_bytes"] == {"own": 5000, "default": None, "maximum": 5000}
    assert changed["models"] == {"own": "none", "default": None, "maximum": None}
    assert changed["bodies_at_once"] == {"own": 3, "default": config.uploads_at_once_per_project, "maximum": 3}
    assert unset["stored_bytes"] == before["stored_bytes"]
    assert unset["bodies_at_once"] == changed["bodies_at_once"]


async def test_a_key_has_limits_of_its_own_beside_those_of_its_project(limited: Limited) -> None:
    await limited.set(KEY_LIMITS, open_uploads=1)
    await limited.set(open_uploads=5)

    await limited.open_archive(1000, "first")
    refused = await limited.call(
        "POST", "uploads/archive", 429, json={"model_name": "b", "archive_size": 1, "archive_format": "tar"}
    )
    usage = await limited.usage()

    assert refused["error"]["message"].startswith("This key may have 1 uploads that have not ended (open_uploads)")
    assert "--key key open_uploads=2" in refused["error"]["message"]
    assert usage["key"] == {"open_uploads": {"used": 1, "limit": 1}}
    assert usage["limits"]["open_uploads"] == {"used": 1, "limit": 5}
    assert (await limited.show(KEY_LIMITS))["limits"]["open_uploads"]["own"] == 1


@pytest.mark.parametrize(("path", "whose"), [(LIMITS, "This project"), (KEY_LIMITS, "This key")])
async def test_bodies_beyond_the_limit_are_refused_before_they_are_read(
    limited: Limited, path: str, whose: str
) -> None:
    session = (await limited.open_archive(2 * CHUNK))["session_id"]
    await limited.set(path, bodies_at_once=1)
    incoming = limited.dependencies.incoming
    incoming.slots._wait_s = incoming._of_keys._wait_s = 0.01
    holds = ProjectKey(
        project_id=PROJECT,
        key_id="key",
        scopes=frozenset(),
        limits=Limits(bodies_at_once=1 if path == LIMITS else None),
        key_limits=Limits(bodies_at_once=1 if path == KEY_LIMITS else None),
    )

    async def body() -> AsyncIterator[bytes]:
        pytest.fail("nobody asked for the body")
        yield b""

    async with incoming.take(holds):
        usage = await limited.usage()
        url = f"/v1/uploads/{session}/parts?part_number=0"
        async with limited.client.post(url, data=body(), headers={"Expect": "100-continue"}) as refused:
            error = (await refused.json())["error"]
    await limited.send_part(session, 0, part(0))

    assert usage["limits" if path == LIMITS else "key"]["bodies_at_once"] == {"used": 1, "limit": 1}
    assert (refused.status, refused.headers["Retry-After"]) == (429, "2")
    assert (error["limit"], error["used"]) == ("bodies_at_once", 1)
    assert error["message"].startswith(f"{whose} may send or receive 1 bodies at once")


async def test_what_cannot_be_a_limit_is_refused_by_name(limited: Limited) -> None:
    of_a_key = await limited.set(KEY_LIMITS, 400, stored_bytes=1)
    unbound = await limited.set(LIMITS, 400, upload_bytes="none")
    unknown = await limited.set(LIMITS, 400, requests_per_minute=1)
    negative = await limited.set(LIMITS, 400, stored_bytes=-1)
    nothing = await limited.set(LIMITS, 400)

    assert "a limit of projects only" in of_a_key["error"]["message"]
    assert "SLIPWAY_MAX_MODEL_BYTES" in unbound["error"]["message"]
    assert "requests_per_minute" in unknown["error"]["message"]
    assert "stored_bytes" in negative["error"]["message"]
    assert "requests_per_second" in nothing["error"]["message"]
    assert all(limit["own"] is None for limit in (await limited.show())["limits"].values())


async def test_limits_of_what_is_not_there_are_not_found(limited: Limited) -> None:
    await limited.set("/admin/v1/projects/proj_0000000000/limits", 404, models=1)
    await limited.set(LIMITS.replace("/limits", "/keys/nobody/limits"), 404, open_uploads=1)


async def test_only_the_operator_sees_and_sets_limits(limited: Limited) -> None:
    async with limited.client.get(LIMITS) as shown, limited.client.patch(LIMITS, json={"models": 1}) as changed:
        assert (shown.status, changed.status) == (403, 403)


async def test_limits_that_only_the_next_release_knows_do_not_matter(limited: Limited) -> None:
    await limited.pool.execute('UPDATE project SET limits = \'{"shards": 1, "models": 0}\'')

    shown = await limited.show()
    refused = await limited.call(
        "POST", "uploads/archive", 429, json={"model_name": "b", "archive_size": 1, "archive_format": "tar"}
    )

    assert "shards" not in shown["limits"]
    assert refused["error"]["limit"] == "models"


async def test_the_limit_of_validations_is_told_to_the_validator(limited: Limited) -> None:
    await limited.set(validations_at_once=3)
    await limited.set(models=5)
    await limited.set(validations_at_once=None)

    told = [event.validations_at_once for event in await limited.emitted(ProjectLimited)]
    assert told == [3, None]
    assert (await limited.usage())["limits"]["validations_at_once"] == {"used": 0, "limit": None}
