"""The other commands, their settings, and how they fail."""

from __future__ import annotations

from pathlib import Path

from tests.integration.cli.conftest import Slipway
from tests.integration.cli.server import KEY, FakeSlipway


async def test_models_get_shows_what_the_registry_knows(slipway: Slipway, model: Path) -> None:
    await slipway("upload", model, "--name", "my model")

    ran = await slipway("models", "get", "my model")

    assert ran.code == 0, ran.err
    for words in ("my model", "BertModel", "22.7M (22,713,728)", "512 tokens", "F32", "weights 100%.safetensors"):
        assert words in ran.out


async def test_models_get_as_json_has_files_and_report(slipway: Slipway, model: Path) -> None:
    await slipway("upload", model, "--name", "m")

    ran = await slipway("models", "get", "m", "--json")

    assert ran.json["architecture"] == "BertModel"
    assert len(ran.json["files"]) == 3
    assert ran.json["report"]["findings"] == []


async def test_lists_are_tables(slipway: Slipway, model: Path) -> None:
    empty = await slipway("models", "list")
    await slipway("upload", model, "--name", "m")

    models, uploads = await slipway("models", "list"), await slipway("uploads", "list")

    assert "No models yet." in empty.out
    assert "● ready" in models.out
    assert "● completed" in uploads.out


async def test_uploads_get_and_abort(slipway: Slipway, server: FakeSlipway, model: Path) -> None:
    await slipway("upload", model, "--name", "m", "--no-wait")

    shown = await slipway("uploads", "get", "u0")
    aborted = await slipway("uploads", "abort", "u0", "--json")

    assert "3 of 3" in shown.out
    assert aborted.json["status"] == "aborted"
    assert server.uploads["u0"].status == "aborted"


async def test_admin_makes_and_revokes_projects_and_keys(slipway: Slipway, server: FakeSlipway) -> None:
    project = await slipway("admin", "project", "create", "team", "--json")
    key = await slipway("admin", "key", "create", "--project", "proj_team", "--scope", "models", "--json")
    listed = await slipway("admin", "key", "list", "--project", "proj_team", "--json")
    revoked = await slipway("admin", "key", "revoke", "key_0", "--project", "proj_team")
    closed = await slipway("admin", "project", "revoke", "proj_team")

    assert project.json["id"] == "proj_team"
    assert (key.json["id"], key.json["key"]) == ("key_0", KEY)
    assert len(listed.json["keys"]) == 1
    assert (revoked.code, closed.code) == (0, 0)
    assert server.sent("DELETE /admin/v1/projects/proj_team/keys/key_0")
    assert server.admin.keys[0]["scopes"] == ["models"]


async def test_refusals_are_one_line(slipway: Slipway) -> None:
    ran = await slipway("models", "get", "nothing")

    assert ran.code == 1
    assert ran.out == ""
    assert ran.err == "Error: The specified model does not exist or you do not have access to it.\n"


async def test_refusals_are_one_document_with_json(slipway: Slipway) -> None:
    ran = await slipway("models", "get", "nothing", "--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "model_not_found"


async def test_flags_win_over_the_credentials_file_on_either_side(slipway: Slipway) -> None:
    before = await slipway("--api-key", "wrong", "models", "list")
    after = await slipway("models", "list", "--api-key", "wrong")

    assert [ran.err for ran in (before, after)] == ["Error: Invalid API key.\n"] * 2


async def test_nobody_listening_is_said_so(slipway: Slipway) -> None:
    ran = await slipway("models", "list", "--base-url", "http://127.0.0.1:9/proj_TEST01/v1")

    assert ran.code == 1
    assert ran.err.splitlines()[-1].startswith("Error: Cannot reach http://127.0.0.1:9: connection refused.")
    assert "Traceback" not in ran.err


async def test_help_needs_no_settings(slipway: Slipway) -> None:
    ran = await slipway("--help")

    assert ran.code == 0
    for command in ("upload", "models", "uploads", "admin", "up"):
        assert command in ran.out
