"""Models that their clients delete: back on request, and afterwards gone from storage, with what only they had."""

from __future__ import annotations

from tests.e2e.client import Client, answered, archived, refused
from tests.support.deployment import Deployment
from tests.support.eventually import eventually_sync
from tests.support.models import given_llama

WEIGHTS = "model.safetensors"


def given_model(client: Client, name: str, seed: int) -> str:
    """A model that is ready; of two seeds only the weights differ."""
    model_id = str(client.upload(name, archived(given_llama(seed=seed)))["model_id"])
    client.settled(model_id)
    return model_id


def end_grace(deployment: Deployment, *model_ids: str) -> None:
    """As if the time in which they can be restored had passed."""
    deployment.sql("gateway", "UPDATE model SET erase_at = now() WHERE id = ANY ($1)", list(model_ids))


def test_a_deleted_model_comes_back_or_leaves_only_what_others_have(client: Client, deployment: Deployment) -> None:
    kept, gone = given_model(client, "kept", 1), given_model(client, "gone", 2)
    weights = given_llama(seed=2)[WEIGHTS]
    assert answered(client.delete("models/gone"))["modelId"] == gone
    refused(client.get(f"models/{gone}"), 404, "model_not_found")
    answered(client.post(f"models/{gone}/restore"))
    assert client.get(f"models/gone/files/{WEIGHTS}").content == weights

    before = deployment.stored(client.project_id)
    answered(client.delete(f"models/{gone}"))
    end_grace(deployment, gone)

    def only_its_weights_are_gone() -> None:
        removed = before.keys() - deployment.stored(client.project_id).keys()
        assert [before[key] for key in removed] == [len(weights)]

    eventually_sync(only_its_weights_are_gone)
    assert client.get(f"models/{kept}/files/{WEIGHTS}").content == given_llama(seed=1)[WEIGHTS]
    refused(client.post(f"models/{gone}/restore"), 404, "model_not_found")

    answered(client.delete(f"models/{kept}"))
    end_grace(deployment, kept)
    nothing_is_left(client, deployment)


def test_what_is_deleted_goes_whoever_dies_meanwhile(client: Client, deployment: Deployment) -> None:
    models = [given_model(client, f"model-{seed}", seed) for seed in range(5)]
    for model_id in models:
        answered(client.delete(f"models/{model_id}"))
    end_grace(deployment, *models[:2])
    deployment.kill("lifecycle")
    end_grace(deployment, *models[2:])
    deployment.kill("gateway")
    deployment.kill("lifecycle")
    nothing_is_left(client, deployment)
    deployment.quiet()


def nothing_is_left(client: Client, deployment: Deployment) -> None:
    """Wait until storage and both services have nothing of the project."""

    def look() -> None:
        assert deployment.stored(client.project_id) == {}
        assert deployment.sql("gateway", "SELECT id FROM model WHERE project_id = $1", client.project_id) == []
        live = "SELECT key FROM object WHERE project_id = $1 AND state = 'live'"
        assert deployment.sql("lifecycle", live, client.project_id) == []

    eventually_sync(look, 60)
