"""The unmodified openai SDK against what of its API is there: models."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
import requests

from tests.e2e.client import Client, answered, archived
from tests.support.deployment import Deployment
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


def test_models_are_deleted(client: Client, sdk: openai.OpenAI) -> None:
    model_id = client.upload("one", archived(given_llama()))["model_id"]
    client.settled(model_id)

    deleted = sdk.models.delete("one")

    assert (deleted.id, deleted.deleted, deleted.object) == (model_id, True, "model")
    assert list(sdk.models.list()) == []
    with pytest.raises(openai.NotFoundError):
        sdk.models.delete(model_id)
    answered(client.post(f"models/{model_id}/restore"))


def test_lists_are_paged_by_the_last_id(client: Client, sdk: openai.OpenAI) -> None:
    """The SDK's list of models has one page; with `limit` and `after` it reads any."""
    opened = [client.open_archive(f"m{number}", b"0" * 10)["model_id"] for number in range(5)]

    found: list[str] = []
    after: dict[str, str] = {}
    while page := sdk.models.list(extra_query={"limit": "2", **after}).data:
        found += [model.id for model in page]
        after = {"after": found[-1]}

    assert found == opened[::-1]
    assert [model.id for model in sdk.models.list()] == found


async def test_the_async_client_reads_and_deletes(client: Client) -> None:
    model_id = client.upload("one", archived(given_llama()))["model_id"]
    client.settled(model_id)

    async with openai.AsyncOpenAI(base_url=client.base, api_key=client.key, max_retries=0) as sdk:
        listed = [model.id async for model in sdk.models.list()]
        found = await sdk.models.retrieve("one")
        deleted = await sdk.models.delete(model_id)
        with pytest.raises(openai.NotFoundError):
            await sdk.models.retrieve("one")

    assert listed == [found.id] == [deleted.id] == [model_id]
    answered(client.post(f"models/{model_id}/restore"))


def test_too_many_requests_are_the_sdks_error_and_its_retries_wait_as_asked(
    client: Client, deployment: Deployment, sdk: openai.OpenAI
) -> None:
    limits = f"{deployment.address}/admin/v1/projects/{client.project_id}/limits"
    operator = {"Authorization": f"Bearer {deployment.operator_key}"}
    answered(requests.patch(limits, headers=operator, json={"requests_per_second": 1}))

    with pytest.raises(openai.RateLimitError) as refused:
        list_often(sdk)
    for _ in range(2):
        sdk.with_options(max_retries=5).models.list()

    assert refused.value.code == "rate_limit_exceeded"
    assert int(refused.value.response.headers["Retry-After"]) >= 1
    answered(requests.patch(limits, headers=operator, json={"requests_per_second": None}))


def list_often(sdk: openai.OpenAI) -> None:
    """More than a second's share."""
    for _ in range(50):
        sdk.models.list()


def test_errors_have_the_sdks_classes(client: Client, sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        sdk.models.list(extra_query={"limit": "0"})
    with pytest.raises(openai.PermissionDeniedError) as denied:
        sdk.post(f"/models/{client.open_archive('m', b'0' * 10)['model_id']}/share", cast_to=object)

    assert (wrong.value.param, wrong.value.status_code) == ("limit", 400)
    assert denied.value.code == "feature_not_enabled"


def test_the_key_names_the_project_where_the_url_does_not(client: Client, sdk: openai.OpenAI) -> None:
    model_id = client.upload("one", archived(given_llama()))["model_id"]
    client.settled(model_id)
    without_project = client.base.replace(f"/{client.project_id}", "")
    assert sdk.with_options(base_url=without_project).models.retrieve("one").id == model_id
