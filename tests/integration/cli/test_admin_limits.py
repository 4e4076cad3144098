"""`slipway admin limits`, of a real gateway."""

from __future__ import annotations

from tests.integration.cli.conftest import Command, Project


async def test_limits_are_shown_and_set(slipway: Command, project: Project) -> None:
    before = await slipway("admin", "limits", "show", project.id)
    changed = await slipway("admin", "limits", "set", project.id, "stored_bytes=10GB", "models=none", "--json")
    again = await slipway("admin", "limits", "set", project.id, "stored_bytes=default")

    assert "upload_bytes" in before.out
    assert changed.json["limits"]["stored_bytes"]["own"] == 10**10
    assert changed.json["limits"]["models"]["own"] == "none"
    assert "10.0 GB" not in again.out


async def test_what_is_no_limit_is_said(slipway: Command, project: Project) -> None:
    unknown = await slipway("admin", "limits", "set", project.id, "requests_per_minute=1")
    no_value = await slipway("admin", "limits", "set", project.id, "models=many")

    assert unknown.code == 1
    assert "requests_per_minute" in unknown.err
    assert no_value.code == 2
    assert "'many' is no value for models" in no_value.err
