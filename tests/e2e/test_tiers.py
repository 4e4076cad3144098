"""A model whose objects are in the cold tier: clients notice nothing, whatever dies on the way."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest
import requests

from tests.e2e.client import Client, answered, archived
from tests.support.deployment import Deployment
from tests.support.eventually import eventually_sync
from tests.support.models import given_llama
from tests.support.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NAMESPACE, COLD = "e2etiers", "e2etierscold"


@pytest.fixture(scope="module")
def deployment(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The four services with two buckets; what was not read for two seconds moves, and so it does back."""
    settings = {
        "SLIPWAY_S3_COLD_URL": stack.bucket_url(COLD),
        "SLIPWAY_COLD_AFTER_S": "2",
        "SLIPWAY_MOVE_REST_S": "2",
        "SLIPWAY_RESTORE_GRACE_S": "2",
    }
    deployment = Deployment(stack, tmp_path_factory.mktemp("services"), NAMESPACE, **settings)
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.stop()
        stack.remove_bucket(COLD)


@pytest.fixture
def client(deployment: Deployment) -> Iterator[Client]:
    """A project with a key."""
    operator = {"Authorization": f"Bearer {deployment.operator_key}"}
    projects = f"{deployment.address}/admin/v1/projects"
    project = answered(requests.post(projects, headers=operator, json={"name": f"tiers {secrets.token_hex(4)}"}))
    key = answered(requests.post(f"{projects}/{project['id']}/keys", headers=operator, json={"scopes": ["models"]}))
    client = Client(deployment.address, project["id"], key["key"])
    with client.http:
        yield client


def audit(deployment: Deployment) -> dict[str, int]:
    """The result of an audit that is asked for now."""
    operator = {"Authorization": f"Bearer {deployment.operator_key}"}
    url = f"{deployment.address}/admin/v1/audit"
    asked = answered(requests.post(url, headers=operator, json={}), 202)

    def look() -> dict[str, int]:
        later = [each for each in answered(requests.get(url, headers=operator))["data"] if each["at"] > asked["at"]]
        assert later, "no audit has ended since"
        found: dict[str, int] = later[0]
        return found

    return eventually_sync(look, within_s=120)


def until(holds: Callable[[], bool], what: str) -> None:
    def look() -> None:
        assert holds(), what

    eventually_sync(look, within_s=120)


def test_clients_read_models_wherever_they_are(deployment: Deployment, client: Client, stack: Stack) -> None:
    """Moved with lifecycle being killed; downloaded, checked anew, brought back, deleted: the audit is clean."""
    files = given_llama(shards=2)
    model_id = client.upload("cold", archived(files))["model_id"]
    client.settled(model_id)
    count = len(files)

    def in_tier(bucket: str) -> int:
        return len(stack.stored(bucket, f"{client.project_id}/objects/"))

    deployment.kill("lifecycle")
    until(lambda: in_tier(COLD) > 0, "nothing moves")
    deployment.kill("lifecycle")
    until(lambda: (in_tier(NAMESPACE), in_tier(COLD)) == (0, count), "not everything has moved")

    for path, content in files.items():
        assert client.get(f"models/{model_id}/files/{path}").content == content
    answered(client.post(f"models/{model_id}/revalidate"))
    client.settled(model_id)

    moved_back = "SELECT seq FROM outbox WHERE type = 'object.moved.v1' AND body->>'tier' = 'hot'"
    until(lambda: bool(deployment.sql("lifecycle", moved_back)), "nothing was brought back")

    answered(client.delete(f"models/{model_id}"))
    until(lambda: in_tier(NAMESPACE) + in_tier(COLD) == 0, "something is left")
    found = audit(deployment)
    names = ("objects", "unclaimed", "missing", "leftovers", "misplaced", "stopped")
    assert {name: found[name] for name in names} == dict.fromkeys(names, 0) | {"stopped": None}
