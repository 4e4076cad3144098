"""`slipway admin delete project`, of a real gateway."""

from __future__ import annotations

from tests.integration.cli.conftest import Command


async def test_a_project_is_deleted_by_its_name(slipway: Command) -> None:
    made = (await slipway("admin", "project", "create", "to go", "--json")).json
    wrong = await slipway("admin", "delete", "project", made["id"], "--confirm", "To go")
    deleting = await slipway("admin", "delete", "project", made["id"], "--confirm", "to go")
    listed = await slipway("admin", "project", "list", "--json")

    assert wrong.code == 1
    assert "'to go'" in wrong.err
    assert "being deleted" in deleting.out
    [shown] = [each for each in listed.json["projects"] if each["id"] == made["id"]]
    assert shown["status"] in ("deleting", "deleted")
