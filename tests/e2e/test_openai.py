"""The unmodified openai SDK against what of its API is there: models."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.e2e.client import Client, archived
from tests.support.models import given_llama


@pytest.fixture
def sdk(client: Client) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=client.base, api_key=client.key, max_retries=0) as sdk:
        yield sdk


def test_models_are_listed_and_retrieved_by_id_and_by_name(client: Client, sdk: openai.OpenAI) -> None:
    uploaded = [client.upload(name, archived(given_llama()))["model_id"] for name in ("one", "two", "org/three")]
    for model_id in uploaded:
        client.settled(model_id)

    assert [model.id for model in sdk.models.list()] == uploaded[::-1]
    for name, model_id in zip(("one", "two", "org/three"), uploaded, strict=True):
        for asked in (name, model_id):
            model = sdk.models.retrieve(asked)
            assert (model.id, model.object) == (model_id, "model")
            assert model.owned_by
            assert model.created > 0


def test_errors_are_the_sdks_own_with_code_and_message(client: Client, sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.models.retrieve("nothing")
    assert missing.value.code == "model_not_found"
    assert missing.value.request_id

    with pytest.raises(openai.AuthenticationError) as unknown:
        sdk.with_options(api_key="xero_test_unknown").models.list()
    assert unknown.value.code == "authentication_error"


def test_the_key_names_the_project_where_the_url_does_not(client: Client, sdk: openai.OpenAI) -> None:
    model_id = client.upload("one", archived(given_llama()))["model_id"]
    client.settled(model_id)
    without_project = client.base.replace(f"/{client.project_id}", "")
    assert sdk.with_options(base_url=without_project).models.retrieve("one").id == model_id
