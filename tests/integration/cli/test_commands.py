"""The other commands, their settings, and how they fail."""

from __future__ import annotations

import asyncio
from pathlib import Path

from libs.client import AsyncClient
from tests.integration.cli.conftest import Command, Project, environment
from tests.integration.cli.proxy import GatewayProxy
from tests.support.plain_install import command_without_other_packages


async def test_models_get_shows_what_the_registry_knows(slipway: Command, model: Path) -> None:
    await slipway("upload", model, "--name", "my model")

    ran = await slipway("models", "get", "my model")

    assert ran.code == 0, ran.err
    for words in ("my model", "LlamaForCausalLM", "512 tokens", "F16", "notes 100%.txt", "no findings"):
        assert words in ran.out


async def test_models_get_as_json_has_files_and_report(slipway: Command, model: Path) -> None:
    await slipway("upload", model, "--name", "m")

    ran = await slipway("models", "get", "m", "--json")

    assert ran.json["architecture"] == "LlamaForCausalLM"
    assert {file["path"] for file in ran.json["files"]} >= {"1_Pooling/config.json", "model.safetensors"}
    assert ran.json["report"]["findings"] == []


async def test_lists_are_tables(slipway: Command, model: Path) -> None:
    empty = await slipway("models", "list")
    await slipway("upload", model, "--name", "m")

    models, uploads = await slipway("models", "list"), await slipway("uploads", "list")

    assert "No models yet." in empty.out
    assert "● ready" in models.out
    assert "● completed" in uploads.out


async def test_the_command_needs_no_package_of_a_server(
    slipway: Command, proxy: GatewayProxy, project: Project, model: Path
) -> None:
    """After `pip install slipway` without extras."""
    await slipway("upload", model, "--name", "m")
    process = await asyncio.create_subprocess_exec(
        *command_without_other_packages("models", "list"),
        env=environment(SLIPWAY_BASE_URL=f"{proxy.address}/{project.id}/v1", SLIPWAY_API_KEY=project.key),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()

    assert process.returncode == 0, err.decode()
    assert "● ready" in out.decode()


async def test_usage_shows_what_is_used_and_the_limits(
    slipway: Command, operator: AsyncClient, api: AsyncClient, project: Project, model: Path
) -> None:
    await operator.operator.set_limits(project.id, {"models": 1})
    await slipway("upload", model, "--name", "m")

    shown, document = await slipway("usage"), await slipway("usage", "--json")
    refused = await slipway("upload", model, "--name", "m")

    assert document.json["limits"]["models"] == {"used": 1, "limit": 1}
    assert document.json["stored_bytes"] == (await api.usage()).stored_bytes > 0
    assert shown.out.startswith("1 model, ")
    assert (refused.code, "slipway usage" in refused.err) == (1, True)


async def test_uploads_get_and_abort(slipway: Command, api: AsyncClient) -> None:
    opened = await api.uploads.open_archive("m", 150_000, "tar")

    shown = await slipway("uploads", "get", opened.session_id)
    aborted = await slipway("uploads", "abort", opened.session_id, "--json")

    assert "0 of 3" in shown.out
    assert aborted.json["status"] == "aborted"
    assert (await api.uploads.get(opened.session_id)).status == "aborted"
    assert await api.uploads.list(status="open").all() == []


async def test_uploads_get_counts_the_files_of_a_directory(slipway: Command, model: Path) -> None:
    done = await slipway("upload", model, "--name", "m", "--json")

    shown = await slipway("uploads", "get", done.json["session_id"])

    count = done.json["file_count"]
    assert f"{count} of {count}" in shown.out


async def test_admin_makes_and_revokes_projects_and_keys(
    slipway: Command, operator: AsyncClient, proxy: GatewayProxy, project: Project
) -> None:
    """A key works until it is revoked; without a project in the base URL, the key names it."""
    name, any_project = f"team {project.id}", proxy.address
    made = await slipway("admin", "project", "create", name, "--json")
    project_id = made.json["id"]
    key = await slipway("admin", "key", "create", "--project", project_id, "--scope", "models", "--json")
    listed = await slipway("admin", "key", "list", "--project", project_id, "--json")
    command = ("models", "list", "--api-key", key.json["key"], "--base-url", any_project)
    before = await slipway(*command)
    revoked = await slipway("admin", "key", "revoke", key.json["id"], "--project", project_id)
    refused = await slipway(*command)
    [after] = await operator.projects.keys(project_id)
    closed = await slipway("admin", "project", "revoke", project_id)
    projects = await slipway("admin", "project", "list", "--json")

    assert made.json["name"] == name
    assert key.json["key"].startswith("xero_")
    assert [each["id"] for each in listed.json["keys"]] == [key.json["id"]]
    assert listed.json["keys"][0]["scopes"] == ["models"]
    assert (revoked.code, closed.code) == (0, 0)
    assert (before.code, refused.code) == (0, 1)
    assert refused.err.startswith("Error: Invalid API key.")
    assert after.revoked_at is not None
    assert [each["revoked_at"] is not None for each in projects.json["projects"] if each["id"] == project_id] == [True]


async def test_refusals_are_one_line_and_the_next_step(slipway: Command) -> None:
    ran = await slipway("models", "get", "nothing")

    assert ran.code == 1
    assert ran.out == ""
    assert ran.err == (
        "Error: The specified model does not exist or you do not have access to it.\n"
        "See: slipway models list, and slipway models list --deleted\n"
    )


async def test_refusals_are_one_document_with_json(slipway: Command) -> None:
    ran = await slipway("models", "get", "nothing", "--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "model_not_found"


async def test_flags_win_over_the_credentials_file_on_either_side(slipway: Command) -> None:
    before = await slipway("--api-key", "wrong", "models", "list")
    after = await slipway("models", "list", "--api-key", "wrong")

    assert before.err == after.err
    assert before.err.startswith("Error: Invalid API key.")
    assert "--api-key" in before.err.splitlines()[1]


async def test_nobody_listening_is_said_so(slipway: Command) -> None:
    ran = await slipway("models", "list", "--base-url", "http://127.0.0.1:9/proj_TEST01/v1")

    assert ran.code == 1
    assert ran.err.splitlines()[-1].startswith("Error: Cannot reach http://127.0.0.1:9: connection refused.")
    assert "Traceback" not in ran.err


async def test_help_needs_no_settings(slipway: Command) -> None:
    ran = await slipway("--help")

    assert ran.code == 0
    for command in ("upload", "models", "uploads", "admin", "up"):
        assert command in ran.out


async def test_admin_switches_features_and_manages_members(slipway: Command, project: Project) -> None:
    """A member's key counts as theirs, and goes with them."""
    on = await slipway("admin", "features", "enable", project.id, "model_sharing", "--json")
    shown = await slipway("admin", "features", "list", project.id)
    off = await slipway("admin", "features", "disable", project.id, "model_sharing", "--json")
    nothing = await slipway("admin", "features", "enable", project.id, "telepathy")
    added = await slipway("admin", "members", "add", project.id, "Ann", "--role", "admin", "--json")
    ann = added.json["id"]
    key = await slipway("admin", "key", "create", "--project", project.id, "--member", ann, "--role", "admin", "--json")
    changed = await slipway("admin", "members", "role", project.id, ann, "member", "--json")
    before = await slipway("models", "list", "--api-key", key.json["key"])
    removed = await slipway("admin", "members", "remove", project.id, ann)
    refused = await slipway("models", "list", "--api-key", key.json["key"])
    listed = await slipway("admin", "members", "list", project.id, "--json")

    assert (on.json["enabled"], off.json["enabled"], "model_sharing" in shown.out) == (True, False, True)
    assert (nothing.code, "model_sharing" in nothing.err) == (1, True)
    assert (added.json["role"], key.json["member_id"], changed.json["role"]) == ("admin", ann, "member")
    assert (before.code, removed.code, refused.code) == (0, 0, 1)
    assert "removed" in removed.out
    assert [(each["id"], each["role"]) for each in listed.json["members"]] == [(ann, "member")]
