"""Models as Fireworks lists, shows and deletes them, and how their clients have them checked."""

from __future__ import annotations

import pytest

from libs.contracts import ModelDeleted, ModelValidationRequested, UploadAborted, ValidationOptions
from tests.integration.gateway.fireworks.calls import Fireworks
from tests.integration.gateway.harness import FILES


async def test_models_are_listed_by_name_in_pages(fireworks: Fireworks) -> None:
    """Each once, however many versions it has."""
    for name in ("c", "a", "b"):
        await fireworks.create(name)
    await fireworks.uploads.open_directory(FILES, name="a")
    first = await fireworks.call("GET", "?pageSize=2")
    assert [each["name"] for each in first["models"]] == ["accounts/test/models/a", "accounts/test/models/b"]
    assert first["totalSize"] == 3
    last = await fireworks.call("GET", f"?pageSize=2&pageToken={first['nextPageToken']}")
    assert [each["name"] for each in last["models"]] == ["accounts/test/models/c"]
    assert last["nextPageToken"] == ""


async def test_a_model_that_came_otherwise_is_shown_too(fireworks: Fireworks) -> None:
    done = await fireworks.uploads.upload_directory(FILES, name="org/model")
    await fireworks.uploads.validate(done["model_id"])
    [shown] = (await fireworks.call("GET"))["models"]
    assert shown["name"] == "accounts/test/models/org%2Fmodel"
    assert (shown["displayName"], shown["state"]) == ("org/model", "READY")
    assert shown["baseModelDetails"]["huggingfaceFiles"] == sorted(FILES)
    assert await fireworks.call("GET", "/org%2Fmodel") == shown
    assert await fireworks.validate("org%2Fmodel") == {}


async def test_deleting_a_model_aborts_its_upload(fireworks: Fireworks) -> None:
    await fireworks.create()
    await fireworks.put_all()
    assert await fireworks.call("DELETE", "/tiny") == {}
    assert len(await fireworks.uploads.emitted(UploadAborted)) == 1
    await fireworks.call("DELETE", "/tiny", 404)
    assert (await fireworks.create())["status"]["code"] == "OK"


async def test_deleting_a_model_frees_its_name(fireworks: Fireworks) -> None:
    """All versions go, and each can be restored for a while."""
    await fireworks.ready()
    done = await fireworks.uploads.upload_directory({**FILES, "README.md": b"more"})
    await fireworks.uploads.validate(done["model_id"])
    assert await fireworks.call("DELETE", "/tiny") == {}
    assert len(await fireworks.uploads.emitted(ModelDeleted)) == 2
    await fireworks.call("GET", "/tiny", 404)
    assert (await fireworks.call("GET"))["totalSize"] == 0
    await fireworks.ready()
    await fireworks.uploads.call("POST", f"models/{done['model_id']}/restore")


async def test_a_newer_version_that_is_not_ready_hides_none_that_is(fireworks: Fireworks) -> None:
    await fireworks.ready()
    await fireworks.uploads.open_directory(FILES)
    assert (await fireworks.call("GET", "/tiny"))["state"] == "READY"
    assert await fireworks.validate() == {}


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", ValidationOptions()),
        ("?skipHfConfigValidation=true", ValidationOptions(skip_config=True)),
        ("?trustRemoteCode=True&skipHfConfigValidation=false", ValidationOptions(trust_remote_code=True)),
        ("?configOnly=1", ValidationOptions(config_only=True)),
    ],
)
async def test_the_parameters_reach_the_validator(fireworks: Fireworks, query: str, options: ValidationOptions) -> None:
    await fireworks.create()
    await fireworks.put_all()
    await fireworks.validate(status=400, query=query)
    await fireworks.extract()
    [asked] = await fireworks.uploads.emitted(ModelValidationRequested)
    assert asked.options == options


async def test_a_configuration_alone_is_enough_where_its_client_says_so(fireworks: Fireworks) -> None:
    files = {"config.json": b"{}"}
    await fireworks.create(files=files)
    await fireworks.put_all(files)
    assert "no model weights" in (await fireworks.validate(status=400))["message"]
    assert "still being read" in (await fireworks.validate(status=400, query="?configOnly=true"))["message"]
    await fireworks.extract()
    assert "is being checked" in (await fireworks.validate(status=400))["message"]
    error = await fireworks.validate(status=400, query="?trustRemoteCode=true")
    assert error["status"] == "INVALID_ARGUMENT"
    assert "begun with other parameters" in error["message"]
