"""Secrets: kept encrypted, replaced by name, and never shown again."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest

from libs.sealing import CannotUnseal, Keys, new_key
from services.gateway.dependencies import Dependencies
from services.gateway.secrets.schemas import CreateSecret
from tests.integration.gateway.harness import PROJECT, Uploads
from tests.integration.gateway.serving import any_key, serving

VALUE = "A-VALUE-THAT-NOBODY-SEES"
S3 = {"name": "at-s3", "type": "s3", "access_key_id": "AKIA", "secret_access_key": VALUE}
AZURE = {"name": "at-azure", "type": "azure", "account_key": "QS1WQUxVRQ=="}


async def test_a_secret_is_listed_without_its_value(uploads: Uploads) -> None:
    for body in (S3, AZURE):
        shown = await uploads.call("POST", "secrets", 201, json=body)
        assert shown.keys() == {"name", "type", "created_at", "last_used_at", "object"}
    listed = await uploads.call("GET", "secrets")
    assert [(each["name"], each["type"], each["last_used_at"]) for each in listed["data"]] == [
        ("at-azure", "azure", None),
        ("at-s3", "s3", None),
    ]


async def test_the_database_has_it_encrypted_for_its_project_and_name(uploads: Uploads) -> None:
    await uploads.call("POST", "secrets", 201, json=S3)
    row = await uploads.pool.fetchrow("SELECT * FROM secret")
    assert VALUE not in str(row)
    keys = Keys.parse(uploads.dependencies.config.secrets_key)
    assert VALUE.encode() in keys.unseal(row["sealed"], about=f"secret/{PROJECT}/at-s3")
    for other in (f"secret/{PROJECT}/other", "secret/proj_OTHER/at-s3"):
        with pytest.raises(CannotUnseal):
            keys.unseal(row["sealed"], about=other)


async def test_the_same_name_again_replaces_it(uploads: Uploads) -> None:
    await uploads.call("POST", "secrets", 201, json=S3)
    before = await uploads.pool.fetchval("SELECT sealed FROM secret")
    await uploads.call("POST", "secrets", 200, json=AZURE | {"name": "at-s3"})
    assert await uploads.pool.fetchval("SELECT sealed FROM secret") != before
    [only] = (await uploads.call("GET", "secrets"))["data"]
    assert only["type"] == "azure"


async def test_a_deleted_secret_is_gone(uploads: Uploads) -> None:
    await uploads.call("POST", "secrets", 201, json=S3)
    deleted = await uploads.call("DELETE", "secrets/at-s3")
    assert (deleted["name"], deleted["deleted"]) == ("at-s3", True)
    assert (await uploads.call("GET", "secrets"))["data"] == []
    await uploads.call("DELETE", "secrets/at-s3", 404)


@pytest.mark.parametrize(
    "changes",
    [
        {"secret_access_key": None},
        {"secret_access_key": ""},
        {"secret_access_key": f"{VALUE}\n\x01"},
        {"secret_access_key": VALUE * 1000},
        {"secret_access_key": [VALUE]},
        {"account_key": VALUE},
        {"type": "azure"},
        {"type": "azure", "access_key_id": None, "secret_access_key": None, "sas_token": f"sv=1#{VALUE}"},
        {"type": "azure", "access_key_id": None, "secret_access_key": None, "account_key": f"{VALUE}!"},
        {"type": "gcs"},
        {"name": "a/b"},
        {"name": ""},
    ],
)
async def test_what_cannot_be_a_secret_is_refused_without_showing_it(
    uploads: Uploads, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = await uploads.call("POST", "secrets", 400, json=S3 | changes)
    assert VALUE not in str(answer)
    assert VALUE not in caplog.text
    assert (await uploads.call("GET", "secrets"))["data"] == []


async def test_without_a_key_the_operator_is_told_which_setting(uploads: Uploads) -> None:
    shared = uploads.dependencies
    config = msgspec.structs.replace(shared.config, secrets_key=None)
    dependencies = Dependencies(shared.pool, shared.signals, shared.blobs, shared.bus, config)
    async with serving(dependencies, token="any", authenticate=any_key) as client:
        answer = await Uploads(client, dependencies).call("POST", "secrets", 403, json=S3)
    assert answer["error"]["code"] == "feature_not_enabled"
    assert "SLIPWAY_SECRETS_KEY" in answer["error"]["message"]


async def test_another_key_before_the_old_one_reads_both(uploads: Uploads) -> None:
    await uploads.call("POST", "secrets", 201, json=S3)
    shared = uploads.dependencies
    rotated = f"{new_key()},{shared.config.secrets_key}"
    config = msgspec.structs.replace(shared.config, secrets_key=rotated)
    dependencies = Dependencies(shared.pool, shared.signals, shared.blobs, shared.bus, config)
    async with serving(dependencies, token="any", authenticate=any_key) as client:
        await Uploads(client, dependencies).call("POST", "secrets", 201, json=S3 | {"name": "newer"})
    rows = await uploads.pool.fetch("SELECT name, sealed FROM secret")
    both, old = Keys.parse(rotated), Keys.parse(shared.config.secrets_key)
    for row in rows:
        assert VALUE.encode() in both.unseal(row["sealed"], about=f"secret/{PROJECT}/{row['name']}")
    newer = next(row["sealed"] for row in rows if row["name"] == "newer")
    with pytest.raises(CannotUnseal, match="SLIPWAY_SECRETS_KEY"):
        old.unseal(newer, about=f"secret/{PROJECT}/newer")


def test_a_request_does_not_print_its_value() -> None:
    assert VALUE not in repr(CreateSecret(name="a", type="s3", secret_access_key=VALUE))
