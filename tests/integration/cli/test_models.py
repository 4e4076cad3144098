"""`slipway models` against the gateway: what is read, fetched, deleted, restored and shared."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
from pathlib import Path

import pytest

from libs.client import AsyncClient, BadRequestError, NotFoundError, PermissionDeniedError
from tests.integration.cli.conftest import Command, Project, Start, digests, finished
from tests.integration.cli.proxy import GatewayProxy
from tests.support.deployment import Deployment


@pytest.fixture
async def uploaded(api: AsyncClient, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a model called `m`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return (await api.upload(model, name="m")).id


async def test_reading_commands_print_tables_and_documents(
    slipway: Command, api: AsyncClient, uploaded: str, model: Path
) -> None:
    second = await api.upload(model, name="m")

    versions, files = await slipway("models", "versions", "m"), await slipway("models", "files", "m")
    report = await slipway("models", "report", uploaded)

    assert [line.split()[0] for line in versions.out.splitlines()] == ["version", "1.1.0", "1.0.0"]
    assert "latest" in versions.out.splitlines()[1]
    for path, sha256 in digests(model).items():
        assert path in files.out
        assert sha256 in files.out
    assert "● ready" in report.out
    assert "no findings" in report.out
    assert [each["id"] for each in (await slipway("models", "versions", "m", "--json")).json["versions"]] == [
        second.id,
        uploaded,
    ]
    assert len((await slipway("models", "files", "m", "--json")).json["files"]) == len(digests(model))
    assert (await slipway("models", "report", "m", "--json")).json["findings"] == []


async def test_list_takes_a_name_and_a_status(slipway: Command, uploaded: str) -> None:
    ready = await slipway("models", "list", "--name", "m", "--status", "ready", "--json")
    failed = await slipway("models", "list", "--status", "error", "--json")
    wrong = await slipway("models", "list", "--status", "nonsense", "--json")

    assert [each["id"] for each in ready.json["models"]] == [uploaded]
    assert failed.json["models"] == []
    assert wrong.json["error"]["param"] == "status"


async def test_download_writes_what_was_uploaded(slipway: Command, uploaded: str, model: Path, tmp_path: Path) -> None:
    ran = await slipway("models", "download", "m", "--to", tmp_path / "copy", "--json")
    await slipway("models", "download", "m", "--to", tmp_path / "some", "--file", "config.json")
    none = await slipway("models", "download", "m", "--to", tmp_path / "none", "--file", "nothing.bin")

    assert (ran.json["model_id"], ran.json["version"]) == (uploaded, "1.0.0")
    assert digests(tmp_path / "copy") == digests(model)
    assert digests(tmp_path / "some").keys() == {"config.json"}
    assert (none.code, "slipway models files m" in none.err) == (1, True)


async def test_interrupted_download_is_resumed_by_the_same_command(
    start: Start, slipway: Command, proxy: GatewayProxy, uploaded: str, model: Path, tmp_path: Path
) -> None:
    held = asyncio.Event()

    async def hold() -> None:
        process.send_signal(signal.SIGINT)
        await held.wait()

    command = ("models", "download", "m", "--to", tmp_path / "copy", "--parallel", "1")
    proxy.before("GET .*files/model.safetensors", hold)
    process = await start(*command)
    interrupted = await finished(process)
    held.set()
    before = len(proxy.sent("GET .*files/"))

    ran = await slipway(*command)

    assert interrupted.code == 130
    assert "same command again" in interrupted.err
    assert ran.code == 0, ran.err
    assert digests(tmp_path / "copy") == digests(model)
    assert len(proxy.sent("GET .*files/")) - before < len(digests(model))


async def test_deleted_model_is_listed_and_restored_by_its_name(slipway: Command, uploaded: str) -> None:
    unasked = await slipway("models", "delete", "m")
    deleted = await slipway("models", "delete", "m", "--yes")
    gone = await slipway("models", "get", "m")
    listed = await slipway("models", "list", "--deleted", "--json")
    shown = await slipway("models", "list", "--deleted")
    restored = await slipway("models", "restore", "m", "--json")
    again = await slipway("models", "get", "m")

    assert (unasked.code, "give --yes" in unasked.err) == (2, True)
    assert deleted.code == 0, deleted.err
    assert deleted.out.startswith("Deleted m 1.0.0.\nUntil ")
    assert f"slipway models restore {uploaded}" in deleted.out
    assert (gone.code, "slipway models list --deleted" in gone.err) == (1, True)
    assert [each["id"] for each in listed.json["models"]] == [uploaded]
    assert listed.json["models"][0]["restorableUntil"]
    assert "restorable until" in shown.out
    assert (restored.json["id"], restored.json["status"]) == (uploaded, "ready")
    assert again.code == 0


@pytest.mark.parametrize(("answer", "code", "status"), [("n", 130, "ready"), ("y", 0, None)])
async def test_delete_asks_a_person(
    start: Start, api: AsyncClient, uploaded: str, answer: str, code: int, status: str | None
) -> None:
    person, terminal = pty.openpty()
    try:
        os.write(person, f"{answer}\n".encode())
        ran = await finished(await start("models", "delete", "m", stdin=terminal))
    finally:
        os.close(person)
        os.close(terminal)

    assert ran.code == code, ran.err
    assert "Delete m 1.0.0 (" in ran.err
    assert ("Nothing is deleted." in ran.err) == (code != 0)
    assert [each.status async for each in api.models.list()] == ([status] if status else [])


async def test_of_several_deleted_versions_one_is_named(
    slipway: Command, api: AsyncClient, uploaded: str, model: Path
) -> None:
    second = (await api.upload(model, name="m")).id
    for model_id in (uploaded, second):
        await slipway("models", "delete", model_id, "--yes")

    unclear = await slipway("models", "restore", "m")
    restored = await slipway("models", "restore", uploaded, "--json")

    assert unclear.code == 1
    assert f"1.0.0 is {uploaded}" in unclear.err
    assert f"1.1.0 is {second}" in unclear.err
    assert restored.json["version"] == "1.0.0"
    assert [each.id for each in await api.models.list(deleted=True).all()] == [second]


async def test_admins_share_and_unshare(
    slipway: Command, api: AsyncClient, operator: AsyncClient, deployment: Deployment, project: Project, uploaded: str
) -> None:
    admin = await operator.projects.create_key(project.id, role="admin")
    await operator.operator.enable_feature(project.id, "model_sharing")
    refused = await slipway("models", "share", "m")
    shared = await slipway("models", "share", "m", "--json", "--api-key", str(admin.key))
    known, info = await api.models.get("m"), await slipway("models", "catalog-info", "m", "--json")
    entry = await slipway("catalog", "get", uploaded)
    listed = await slipway("catalog", "list", "--owner", str(known.owned_by))
    found = [each.id async for each in api.catalog.list("llama", workload_type="chat", owner=known.owned_by)]
    unshared = await slipway("models", "unshare", "m", "--json", "--api-key", str(admin.key))

    assert refused.code == 1
    assert (shared.json["shared"], shared.json["modelId"]) == (True, uploaded)
    assert known.is_shared is True
    assert (info.json["id"], info.json["deployment_count"]) == (uploaded, 0)
    assert found == [uploaded]
    assert "LlamaForCausalLM" in entry.out
    assert uploaded in listed.out
    assert unshared.json["shared"] is False
    with pytest.raises(NotFoundError):
        await api.models.catalog_info("m")
    with pytest.raises(PermissionDeniedError):
        await api.models.share("m")


async def test_update_changes_the_given_fields(slipway: Command, api: AsyncClient, uploaded: str) -> None:
    nothing = await slipway("models", "update", "m")
    changed = await slipway(
        "models",
        "update",
        "m",
        "--description",
        "For code",
        "--license",
        "Apache-2.0",
        "--context-length",
        "256",
        "--json",
    )
    cleared = await slipway("models", "update", uploaded, "--description", "", "--json")
    wrong = await slipway("models", "update", "m", "--workload-type", "nonsense", "--json")
    both = await slipway("models", "update", "m", "--workload-type", "nonsense", "--quantization", "nonsense")
    known = await api.models.update("m", architecture="MistralForCausalLM")

    assert (nothing.code, "at least one option" in nothing.err) == (2, True)
    assert (changed.json["description"], changed.json["license"]) == ("For code", "Apache-2.0")
    assert (cleared.json["description"], cleared.json["context_length"]) == (None, 256)
    assert wrong.json["error"]["param"] == "workload_type"
    assert (known.architecture, known.license, known.description) == ("MistralForCausalLM", "Apache-2.0", None)
    assert [line.partition(":")[0] for line in both.err.splitlines()[1:]] == ["quantization", "workload_type"]
    with pytest.raises(BadRequestError) as refused:
        await api.models.update("m", context_length=0)
    assert refused.value.param == "context_length"


async def test_revalidate_asks_for_another_verdict(slipway: Command, deployment: Deployment, uploaded: str) -> None:
    with deployment.frozen("validator"):
        asked = await slipway("models", "revalidate", "m", "--json")
        again = await slipway("models", "revalidate", "m", "--json")
    waited = await slipway("models", "get", "m", "--json")

    assert asked.json == {"id": uploaded, "status": "validating", "message": "Model validation queued"}
    assert again.json["error"]["code"] == "invalid_model_status"
    assert waited.json["status"] in ("validating", "ready")


async def test_revalidate_waits_for_the_verdict_if_told(slipway: Command, uploaded: str) -> None:
    ran = await slipway("models", "revalidate", "m", "--wait", "--json")

    assert (ran.code, ran.json["id"], ran.json["status"]) == (0, uploaded, "ready")
