"""`slipway admin delete project`, of real services."""

from __future__ import annotations

import asyncio
from pathlib import Path

from libs.client import AsyncClient
from tests.integration.cli.conftest import Command, Project
from tests.support.deployment import Deployment
from tests.support.eventually import eventually

LIVE = "SELECT count(*) AS rows FROM object WHERE project_id = $1 AND state <> 'deleted'"


async def test_a_project_is_deleted_by_its_name_and_says_when_it_is_done(
    slipway: Command, operator: AsyncClient, deployment: Deployment, project: Project, model: Path, archive: Path
) -> None:
    """With models, one of them deleted before, and an upload that is open; over real events, to the last object."""
    await slipway("upload", model, "--name", "kept")
    await slipway("upload", archive, "--name", "gone")
    async with AsyncClient(f"{deployment.address}/{project.id}/v1", project.key) as api:
        await api.models.delete("gone")
    [name] = [each.name for each in await operator.projects.all() if each.id == project.id]
    stored = await asyncio.to_thread(deployment.stored, project.id)
    before = (await asyncio.to_thread(deployment.sql, "lifecycle", LIVE, project.id))[0]["rows"]

    wrong = await slipway("admin", "delete", "project", project.id, "--confirm", "another")
    deleting = await slipway("admin", "delete", "project", project.id, "--confirm", name)
    refused = await slipway("models", "list")

    async def is_deleted() -> bool:
        return [each.status for each in await operator.projects.all() if each.id == project.id] == ["deleted"]

    await eventually(is_deleted, timeout_s=120)
    listed = await slipway("admin", "project", "list")
    after = (await asyncio.to_thread(deployment.sql, "lifecycle", LIVE, project.id))[0]["rows"]

    assert wrong.code == 1
    assert f"'{name}'" in wrong.err
    assert "being deleted" in deleting.out
    assert refused.code == 1
    assert any(project.id in line and "deleted" in line for line in listed.out.splitlines())
    assert stored
    assert await asyncio.to_thread(deployment.stored, project.id) == {}
    assert before > 0
    assert after == 0
