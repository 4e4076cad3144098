"""What a project keeps stays within its limits: checked where an upload is opened, by one opening at a time."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from libs.contracts import UploadFailed
from services.gateway.limits.terms import default_limits
from services.gateway.models.sweepers import erase_deleted
from tests.integration.gateway.harness import FILES, PROJECT, Uploads, extracted, part
from tests.integration.gateway.limits.harness import LIMITS, Limited
from tests.integration.gateway.serving import KEY, serving

SIZE = sum(len(data) for data in FILES.values())


def archive(name: str, size: int = 1000) -> dict[str, Any]:
    return {"model_name": name, "archive_size": size, "archive_format": "tar"}


async def open_status(limited: Uploads, name: str, size: int = 1000) -> int:
    async with limited.client.post("/v1/uploads/archive", json=archive(name, size)) as response:
        return response.status


@pytest.mark.parametrize(
    ("limit", "maximum", "used", "requested"),
    [
        ("open_uploads", 1, 1, 1),
        ("models", 1, 1, 1),
        ("stored_bytes", 1500, 1000, 1000),
        ("upload_bytes", 999, 0, 1000),
    ],
)
async def test_a_refusal_says_which_limit_what_is_used_and_who_raises_it(
    limited: Limited, limit: str, maximum: int, used: int, requested: int
) -> None:
    await limited.open_archive(1000, "first")
    await limited.set(LIMITS, **{limit: maximum})

    async with limited.client.post("/v1/uploads/archive", json=archive("second")) as response:
        error = (await response.json())["error"]
    uploads = await limited.call("GET", "uploads")

    assert response.status == 429
    assert (error["type"], error["code"]) == ("rate_limit_error", "quota_exceeded")
    assert response.headers["x-should-retry"] == "false"
    assert "Retry-After" not in response.headers
    assert {name: error[name] for name in ("limit", "used", "requested", "maximum")} == {
        "limit": limit,
        "used": used,
        "requested": requested,
        "maximum": maximum,
    }
    assert f"slipway admin limits set {PROJECT} {limit}={used + requested}" in error["message"]
    assert [each["model_name"] for each in uploads["data"]] == ["first"]  # the refused one left nothing


async def test_of_racing_openings_no_more_pass_than_there_is_room_for(limited: Limited) -> None:
    await limited.set(stored_bytes=5500, open_uploads=20)
    async with serving(limited.dependencies, token=KEY) as client:
        other = Uploads(client, limited.dependencies)
        statuses = await asyncio.gather(*(open_status((limited, other)[n % 2], f"model-{n}") for n in range(16)))

    assert Counter(statuses) == {200: 5, 429: 11}
    assert (await limited.usage())["reserved_bytes"] == 5000


async def test_what_is_reserved_is_free_again_when_the_upload_ends(limited: Limited) -> None:
    await limited.set(stored_bytes=1000, open_uploads=1)
    session = (await limited.open_archive(1000, "first"))["session_id"]
    assert await open_status(limited, "second") == 429

    await limited.call("DELETE", f"uploads/{session}")

    assert await open_status(limited, "second") == 200


async def test_what_is_registered_counts_once_as_stored(limited: Limited) -> None:
    await limited.set(stored_bytes=2 * SIZE)
    await limited.upload_directory(FILES, "first")
    await limited.upload_directory(FILES, "second")  # the same content: one object each

    usage = await limited.usage()

    assert (usage["stored_bytes"], usage["reserved_bytes"], usage["objects"], usage["models"]) == (SIZE, 0, 2, 2)
    assert usage["limits"]["stored_bytes"] == {"used": SIZE, "limit": 2 * SIZE}
    assert usage["validating"] == 2


async def test_files_that_the_project_has_are_not_reserved(limited: Limited) -> None:
    await limited.upload_directory(FILES, "first")
    await limited.set(stored_bytes=SIZE)
    listed = [
        {"relative_path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for path, data in FILES.items()
    ]

    opened = await limited.call("POST", "uploads/directory", json={"model_name": "second", "files": listed})

    assert all(each["present"] for each in opened["files"])
    assert (await limited.usage())["reserved_bytes"] == 0


async def test_an_archive_that_unpacks_to_more_than_its_project_may_store_fails(limited: Limited) -> None:
    """Whatever it announced: what counts is what would be stored."""
    await limited.set(stored_bytes=SIZE - 1)
    session = (await limited.open_archive(100))["session_id"]
    await limited.send_part(session, 0, part(0, 100))
    await limited.complete(session, 202)

    await limited.deliver(extracted(session))
    answer = await limited.complete(session, 422)

    assert answer["error"]["code"] == "quota_exceeded"
    assert answer["error"]["finding"]["rule"] == "quota-exceeded"
    assert f"slipway admin limits set {PROJECT} stored_bytes={SIZE}" in answer["error"]["message"]
    assert [event.upload_id for event in await limited.emitted(UploadFailed)] == [session]
    assert (await limited.usage())["limits"]["stored_bytes"]["used"] == 0


async def test_an_archive_that_unpacks_to_no_more_than_its_project_may_store_is_registered(limited: Limited) -> None:
    await limited.set(stored_bytes=SIZE)
    session = (await limited.open_archive(100))["session_id"]
    await limited.send_part(session, 0, part(0, 100))
    await limited.complete(session, 202)

    await limited.deliver(extracted(session))

    assert (await limited.usage())["limits"]["stored_bytes"] == {"used": SIZE, "limit": SIZE}


async def test_what_was_deleted_counts_until_it_is_erased(limited: Limited) -> None:
    """It can be restored, so it is stored; and the refusal says so."""
    model_id = (await limited.upload_directory(FILES, "first"))["model_id"]
    await limited.validate(model_id)
    await limited.set(models=1)

    await limited.call("DELETE", f"models/{model_id}")
    usage = await limited.usage()
    refused = await limited.call("POST", "uploads/archive", 429, json=archive("second"))
    await erase_deleted(limited.pool, datetime.now(UTC) + timedelta(days=8))

    assert (usage["stored_bytes"], usage["restorable_bytes"], usage["restorable_models"]) == (SIZE, SIZE, 1)
    assert "can still be restored" in refused["error"]["message"]
    assert (await limited.usage())["stored_bytes"] == 0
    assert await open_status(limited, "second") == 200


async def test_without_limits_an_opening_waits_for_no_other(limited: Limited) -> None:
    async with limited.pool.acquire() as tx, tx.transaction():
        await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"limits/{PROJECT}")

        assert await open_status(limited, "first") == 200


async def test_the_settings_are_the_default_of_every_project(limited: Limited) -> None:
    config = msgspec.structs.replace(limited.dependencies.config, models_per_project=1)
    async with serving(limited.dependencies, token=KEY, limits=default_limits(config)) as client:
        gateway = Uploads(client, limited.dependencies)
        assert [await open_status(gateway, name) for name in ("first", "second")] == [200, 429]
        await limited.set(models="none")
        assert await open_status(gateway, "second") == 200
