"""What may go wrong, and what it costs: nothing that was acknowledged, and never a model that waits for ever.

The rows are those of the table of failures in the documentation. After each test the fixture `client` checks that
every model is ready or in error, and that storage holds exactly what the database says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import requests

from tests.e2e.client import Client, answered, archived, refused
from tests.support.deployment import CHUNK_BYTES, Deployment
from tests.support.eventually import eventually_sync
from tests.support.models import given_big_llama
from tests.support.stack import Name

ARCHIVE = archived(given_big_llama(10 * CHUNK_BYTES))


def again(ask: Callable[[], requests.Response]) -> dict[str, Any]:
    """What a client does that repeats a request until it is answered."""
    return eventually_sync(lambda: answered(ask()))


def send_rest(client: Client, session: dict[str, Any], first: int = 0) -> dict[str, Any]:
    """Send the parts from `first` on and complete, however often that takes; the model when it is ready."""
    for number in range(first, session["total_chunks"]):
        again(partial(client.send, session, ARCHIVE, number))
    again(lambda: client.complete(session))
    return client.settled(session["model_id"], within_s=90)


# kill -9 of any service at any step: at most a slower request


def test_gateway_killed_within_a_part(client: Client, deployment: Deployment) -> None:
    session = client.open_archive("gateway killed", ARCHIVE)
    answered(client.send(session, ARCHIVE, 0))

    def body() -> Iterator[bytes]:
        yield ARCHIVE[CHUNK_BYTES : CHUNK_BYTES + 1000]
        deployment.kill("gateway")
        yield ARCHIVE[CHUNK_BYTES + 1000 : 2 * CHUNK_BYTES]

    with pytest.raises(requests.ConnectionError):
        client.post(f"uploads/{session['session_id']}/parts?part_number=1", data=body())

    assert eventually_sync(lambda: client.look(session))["received"] == [[0, 0]]
    send_rest(client, session, first=1)


def test_gateway_killed_while_a_client_waits_for_completion(client: Client, deployment: Deployment) -> None:
    session = client.open_archive("gateway killed late", ARCHIVE)
    with deployment.frozen("extractor"):
        for number in range(session["total_chunks"]):
            answered(client.send(session, ARCHIVE, number))
        answered(client.complete(session, wait_s=0), 202)
        deployment.kill("gateway")
    again(lambda: client.complete(session))
    client.settled(session["model_id"], within_s=90)


def test_extractor_killed_in_the_middle_of_an_archive(client: Client, deployment: Deployment) -> None:
    session = client.open_archive("extractor killed", ARCHIVE)
    half = session["total_chunks"] // 2
    for number in range(half):
        answered(client.send(session, ARCHIVE, number))

    def under_way() -> None:
        assert client.look(session)["extraction"]["parts_done"] > 0

    eventually_sync(under_way)
    deployment.kill("extractor")
    send_rest(client, session, first=half)


def test_validator_killed_with_a_model_in_its_hands(client: Client, deployment: Deployment) -> None:
    with deployment.frozen("validator"):
        done = client.upload("validator killed", ARCHIVE)
        with deployment.hanging("s3"):
            deployment.thaw("validator")
            eventually_sync(lambda: _taken(deployment, done["model_id"]))
            deployment.kill("validator")
    assert client.model(done["model_id"])["status"] == "validating"
    client.settled(done["model_id"], within_s=90)


def test_lifecycle_killed_while_it_cleans_up(client: Client, deployment: Deployment) -> None:
    session = client.open_archive("lifecycle killed", ARCHIVE)
    for number in range(session["total_chunks"]):
        answered(client.send(session, ARCHIVE, number))
    eventually_sync(lambda: _nothing_to_purge(deployment))  # else that of another project is what hangs
    with deployment.hanging("s3"):
        answered(client.delete(f"uploads/{session['session_id']}"))
        eventually_sync(lambda: _purging(deployment, client))
        deployment.kill("lifecycle")

    def nothing_left() -> None:
        assert deployment.stored(client.project_id) == {}

    eventually_sync(nothing_left)


def test_everything_killed_at_every_step(client: Client, deployment: Deployment) -> None:
    """One upload, during which each service dies after each part."""
    session = client.open_archive("all killed", ARCHIVE)
    victims = ["extractor", "gateway", "lifecycle", "validator"]
    for number in range(session["total_chunks"]):
        again(partial(client.send, session, ARCHIVE, number))
        deployment.kill(victims[number % len(victims)])
    again(lambda: client.complete(session))
    for victim in victims:
        deployment.kill(victim)
    eventually_sync(lambda: client.settled(session["model_id"]), within_s=120)


# A dependency is away for a while


def test_without_nats_uploads_go_on_and_their_status_catches_up(client: Client, deployment: Deployment) -> None:
    session = client.open_archive("no nats", ARCHIVE)
    with deployment.without("nats"):
        for number in range(session["total_chunks"]):
            answered(client.send(session, ARCHIVE, number))
        assert client.look(session)["progress"] == 100
        answered(client.get("models"))
        answered(client.complete(session, wait_s=0), 202)
    client.settled(session["model_id"], within_s=90)


def test_nats_restarted_in_the_middle_loses_nothing(client: Client, deployment: Deployment) -> None:
    session = client.open_archive("nats restarted", ARCHIVE)
    answered(client.send(session, ARCHIVE, 0))
    deployment.restart("nats")
    send_rest(client, session, first=1)


def test_nats_that_lost_everything_delays_and_loses_nothing(client: Client, deployment: Deployment) -> None:
    """Streams, consumers and messages are gone, those too that a service had just been handed; sweepers tell again."""
    with deployment.frozen("extractor"), deployment.frozen("validator"):
        session = client.open_archive("nats wiped", ARCHIVE)
        for number in range(session["total_chunks"]):
            answered(client.send(session, ARCHIVE, number))
        answered(client.complete(session, wait_s=0), 202)
        eventually_sync(lambda: _published(deployment))
        deployment.lose_messages()
        deployment.kill("extractor")
        deployment.kill("validator")
    client.settled(session["model_id"], within_s=120)


def test_without_postgres_clients_are_told_to_come_back(client: Client, deployment: Deployment) -> None:
    session = client.open_archive("no postgres", ARCHIVE)
    answered(client.send(session, ARCHIVE, 0))
    with deployment.without("postgres"):
        answer = client.send(session, ARCHIVE, 1)
        refused(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        refused(client.get("models"), 503, "unavailable")
    assert again(lambda: client.get(f"uploads/{session['session_id']}"))["received"] == [[0, 0]]
    send_rest(client, session, first=1)


def test_without_storage_bytes_are_refused_and_the_rest_goes_on(client: Client, deployment: Deployment) -> None:
    session = client.open_archive("no s3", ARCHIVE)
    answered(client.send(session, ARCHIVE, 0))
    with deployment.without("s3"):
        answer = client.send(session, ARCHIVE, 1)
        refused(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert client.look(session)["received"] == [[0, 0]]
        answered(client.get("models"))
        client.open_archive("meanwhile", ARCHIVE)
    send_rest(client, session, first=1)


@pytest.mark.parametrize("name", ["postgres", "s3", "nats"])
def test_a_dependency_restarted_under_work(client: Client, deployment: Deployment, name: Name) -> None:
    session = client.open_archive(f"{name} restarted", ARCHIVE)
    half = session["total_chunks"] // 2
    for number in range(half):
        answered(client.send(session, ARCHIVE, number))
    deployment.restart(name)
    send_rest(client, session, first=half)


def _taken(deployment: Deployment, model_id: str) -> None:
    query = "SELECT 1 FROM validation WHERE model_id = $1 AND leased_by IS NOT NULL"
    assert deployment.sql("validator", query, model_id)


def _nothing_to_purge(deployment: Deployment) -> None:
    assert deployment.sql("lifecycle", "SELECT project_id FROM purge") == []


def _purging(deployment: Deployment, client: Client) -> None:
    query = "SELECT 1 FROM purge WHERE project_id = $1 AND leased_by IS NOT NULL"
    assert deployment.sql("lifecycle", query, client.project_id)


def _published(deployment: Deployment) -> None:
    assert deployment.sql("gateway", "SELECT 1 FROM outbox WHERE published_at IS NULL") == []
