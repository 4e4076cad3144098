"""Lists and single models: what they show, and what it costs to show it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import msgspec
import pytest

from libs.contracts import Finding
from libs.db import connection
from tests.integration.gateway.harness import FILES, PROJECT, Uploads
from tests.integration.gateway.models.verdicts import report
from tests.integration.gateway.serving import with_a_key
from tests.support.plans import counted

MODELS = 41
LONG = report(
    *(
        Finding(rule="safetensors-hole", severity="warning", message="m" * 200, fix="f" * 200, file=f"{number}.json")
        for number in range(1000)
    )
)


@pytest.fixture
async def keyed(uploads: Uploads) -> AsyncIterator[Uploads]:
    """The model routes as a key of the project sees them, with the real check of keys."""
    async with with_a_key(uploads) as keyed:
        yield keyed


async def given_long_reports(uploads: Uploads) -> None:
    async with connection(uploads.pool) as tx:
        await tx.execute(
            """
            INSERT INTO model (id, project_id, name, version, is_latest, status, report, validated_at)
            SELECT 'm' || n, $1, 'long', n || '.0.0', n = 1, 'ready', $2, now() FROM generate_series(1, $3) AS n
            """,
            PROJECT,
            msgspec.to_builtins(LONG),
            MODELS,
        )


@pytest.mark.parametrize("path", ["models", "models/m1/versions", "models/m1", "models/m1?extended=true"])
async def test_no_report_is_read_to_show_what_has_none_in_it(
    keyed: Uploads, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    await given_long_reports(keyed)
    with counted(monkeypatch) as traffic:
        await keyed.call("GET", path)
    assert 0 < traffic.answered_bytes < MODELS * 1000  # 41 reports have 18 MB


async def test_a_report_is_shown_whole(keyed: Uploads) -> None:
    await given_long_reports(keyed)
    shown = await keyed.call("GET", "models/m7/report")
    assert msgspec.convert(shown["findings"], list[Finding]) == LONG.findings
    assert shown["metadata"] == msgspec.to_builtins(LONG.metadata)
    assert (shown["files_read"], shown["bytes_read"], shown["validator"]) == (2, 100, "test")


@pytest.mark.parametrize(
    ("path", "statements"),
    [("models", 1), ("models/tiny", 1), ("models/tiny?extended=true", 1), ("models/tiny/report", 1)],
)
async def test_one_statement_shows_what_is_asked_for_and_one_who_asks(
    keyed: Uploads, monkeypatch: pytest.MonkeyPatch, path: str, statements: int
) -> None:
    async with connection(keyed.pool) as tx:
        await tx.execute(
            "INSERT INTO model (id, project_id, name, version, is_latest) VALUES ('m', $1, 'tiny', '1.0.0', true)",
            PROJECT,
        )
    with counted(monkeypatch) as traffic:
        await keyed.call("GET", path)
    assert len(traffic.statements) == 1 + statements


async def test_a_list_goes_on_after_a_model(keyed: Uploads) -> None:
    await given_long_reports(keyed)
    first = await keyed.call("GET", "models?limit=40")
    assert (len(first["models"]), first["has_more"], first["models"][0]["id"]) == (40, True, "m41")
    rest = await keyed.call("GET", f"models?limit=40&after={first['last_id']}")
    assert ([model["id"] for model in rest["models"]], rest["has_more"]) == (["m1"], False)
    assert [model["id"] for model in rest["data"]] == ["m1"]
    assert (await keyed.call("GET", "models?status=error"))["models"] == []


async def test_versions_are_listed_in_pages_too(keyed: Uploads) -> None:
    await given_long_reports(keyed)
    first = await keyed.call("GET", "models/long/versions?limit=40")
    assert (len(first["data"]), first["has_more"], first["first_id"]) == (40, True, "m41")
    rest = await keyed.call("GET", f"models/long/versions?limit=40&after={first['last_id']}")
    assert ([model["id"] for model in rest["data"]], rest["has_more"]) == (["m1"], False)
    error = (await keyed.call("GET", "models/long/versions?after=unknown", 400))["error"]
    assert error["param"] == "after"


async def test_a_model_without_a_verdict_has_no_report(uploads: Uploads) -> None:
    done = await uploads.upload_directory(FILES)
    shown = await uploads.call("GET", f"models/{done['model_id']}/report")
    assert (shown["status"], shown["findings"], shown["metadata"], shown["validated_at"]) == (
        "validating",
        [],
        None,
        None,
    )


async def test_downloads_give_back_the_bytes_whole_and_by_range(uploads: Uploads) -> None:
    done = await uploads.upload_directory(FILES)
    path = f"/v1/models/{done['model_id']}/files/model.safetensors"
    weights = FILES["model.safetensors"]
    async with uploads.client.get(path) as response:
        assert await response.read() == weights
        assert response.headers["ETag"] == f'"{hashlib.sha256(weights).hexdigest()}"'
    async with uploads.client.get(path, headers={"Range": "bytes=3-9"}) as response:
        assert response.status == 206
        assert await response.read() == weights[3:10]
        assert response.headers["Content-Range"] == f"bytes 3-9/{len(weights)}"
    async with uploads.client.get(path, headers={"Range": "bytes=9999-"}) as response:
        assert response.status == 416
