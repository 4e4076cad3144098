"""The examples of the documents on managing and on sharing models, by curl, Python and Node, word for word."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.e2e.client import Client, answered, archived
from tests.e2e.documented import LANGUAGES, Document, Language
from tests.support.deployment import Deployment
from tests.support.models import given_llama

MANAGEMENT = Document.read("model-management")
SHARING = Document.read("model-sharing")
NAME = "my-custom-model"
NOT_SHARED = "Model is not in the catalog"

Example = Callable[[str], Any]


@pytest.fixture
def model_id(client: Client) -> str:
    """A model that is ready."""
    uploaded: str = client.upload(NAME, archived(given_llama()))["model_id"]
    client.settled(uploaded)
    return uploaded


@pytest.fixture
def admin(client: Client, deployment: Deployment) -> Client:
    """A client of the same project with an admin's key, and the project may share."""
    operator = {"Authorization": f"Bearer {deployment.operator_key}"}
    project = f"{deployment.address}/admin/v1/projects/{client.project_id}"
    answered(requests.put(f"{project}/features/model_sharing", headers=operator))
    key = answered(requests.post(f"{project}/keys", headers=operator, json={"scopes": ["models"], "role": "admin"}))
    return Client(deployment.address, client.project_id, key["key"])


def run(document: Document, title: str, language: Language, client: Client, model_id: str) -> str:
    """What the example prints: of curl, the answer itself, which has to be as documented."""
    printed = document.run(title, language, base=client.base, key=client.key, model_id=model_id)
    if language == "sh" and "error" not in json.loads(printed):
        document.check(title, json.loads(printed), -1)
    return printed


@pytest.mark.parametrize("language", LANGUAGES)
def test_models_are_listed_and_read(client: Client, model_id: str, language: Language) -> None:
    listed = run(MANAGEMENT, "List Project Models", language, client, model_id)
    details = run(MANAGEMENT, "Get Model Details", language, client, model_id)

    if language == "sh":
        assert [each["id"] for each in json.loads(listed)["models"]] == [model_id]
        assert json.loads(details)["status"] == "ready"
    else:
        assert listed == f"{NAME} (ready)"
        assert details == f"{NAME} - ready"
    MANAGEMENT.check("Get Model Details", answered(client.get(f"models/{model_id}")), 0)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_shared_model_has_catalog_info(client: Client, admin: Client, model_id: str, language: Language) -> None:
    before = run(MANAGEMENT, "Get Catalog Info", language, client, model_id)
    run(SHARING, "Share Model", "python", admin, model_id)
    shared = run(MANAGEMENT, "Get Catalog Info", language, client, model_id)

    if language == "sh":
        assert json.loads(before)["error"]["type"] == "not_found_error"
        assert json.loads(shared)["catalog_role"] == "deployable"
    else:
        assert before == NOT_SHARED
        assert shared == "Role: deployable, Deployments: 0"


@pytest.mark.parametrize("language", LANGUAGES)
def test_metadata_is_updated(client: Client, model_id: str, language: Language) -> None:
    updated = run(MANAGEMENT, "Update Model Metadata", language, client, model_id)

    assert language == "sh" or updated == f"Updated: {NAME}"
    model = client.model(model_id)
    assert (model["description"], model["context_length"]) == ("Fine-tuned for code generation tasks", 32768)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_model_is_revalidated(client: Client, model_id: str, language: Language) -> None:
    queued = run(MANAGEMENT, "Revalidate Model", language, client, model_id)

    assert language == "sh" or queued == "Status: validating - Model validation queued"
    client.settled(model_id)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_model_is_deleted(client: Client, model_id: str, language: Language) -> None:
    deleted = run(MANAGEMENT, "Delete Model", language, client, model_id)
    again = run(MANAGEMENT, "Delete Model", language, client, model_id)

    if language == "sh":
        assert json.loads(deleted)["modelId"] == model_id
    else:
        assert deleted == f"Model {model_id} deleted successfully"
        assert again.startswith("Error: {")
    assert "model_not_found" in again
    assert client.get(f"models/{model_id}").status_code == 404
    answered(client.post(f"models/{model_id}/restore"))


@pytest.mark.parametrize("language", LANGUAGES[:2])  # the document has no other
def test_a_model_is_shared_and_unshared(client: Client, admin: Client, model_id: str, language: Language) -> None:
    shared = run(SHARING, "Share Model", language, admin, model_id)
    in_catalog = client.get(f"catalog/{model_id}").status_code
    unshared = run(SHARING, "Unshare Model", language, admin, model_id)

    if language == "sh":
        assert json.loads(shared)["shared"] is True
        assert json.loads(unshared)["shared"] is False
    else:
        assert (shared, unshared) == ("Model shared: True", "Model unshared: True")
    assert (in_catalog, client.get(f"catalog/{model_id}").status_code) == (200, 404)


def test_sharing_is_refused_as_documented(client: Client, admin: Client, model_id: str, deployment: Deployment) -> None:
    """Each row of the table of errors."""
    operator = {"Authorization": f"Bearer {deployment.operator_key}"}
    feature = f"{deployment.address}/admin/v1/projects/{client.project_id}/features/model_sharing"
    unfinished = client.open_archive("unfinished", b"0" * 10)["model_id"]

    refusals = {
        client.post(f"models/{model_id}/share"): (403, "permission_denied"),
        admin.post(f"models/{unfinished}/share"): (400, "invalid_model_status"),
        admin.post("models/nothing/share"): (404, "model_not_found"),
    }
    requests.delete(feature, headers=operator)
    refusals[admin.post(f"models/{model_id}/share")] = (403, "feature_not_enabled")

    for refusal, expected in refusals.items():
        assert (refusal.status_code, refusal.json()["error"]["code"]) == expected
