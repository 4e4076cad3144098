"""Uploads as clients make them: out of order, in parallel, again, by turns, wrongly, and with bad intent."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.e2e.client import Client, answered, archived, refused
from tests.support.deployment import CHUNK_BYTES, Deployment
from tests.support.eventually import eventually_sync
from tests.support.models import given_big_llama, given_llama
from tests.support.tarblocks import END, member

SEVERAL_PARTS = given_big_llama(8 * CHUNK_BYTES)


@pytest.mark.parametrize("archive_format", ["tar", "tar.gz", "tar.bz2"])
def test_parts_may_come_in_any_order_and_in_parallel(client: Client, archive_format: str) -> None:
    archive = archived(SEVERAL_PARTS, archive_format)
    session = client.open_archive("any order", archive, archive_format)
    numbers = list(range(session["total_chunks"]))
    assert len(numbers) > 4

    with ThreadPoolExecutor(4) as senders:
        for answer in senders.map(lambda number: client.send(session, archive, number), reversed(numbers)):
            answered(answer)

    done = answered(client.complete(session))
    assert {each["relative_path"]: each["sha256"] for each in done["files"]} == {
        path: hashlib.sha256(content).hexdigest() for path, content in SEVERAL_PARTS.items()
    }
    client.settled(done["model_id"])


def test_a_second_client_resumes_with_what_is_missing(client: Client, deployment: Deployment) -> None:
    archive = archived(SEVERAL_PARTS)
    session = client.open_archive("resumed", archive)
    for number in (0, 1, 3):
        answered(client.send(session, archive, number))

    other = Client(deployment.address, client.project_id, client.key)
    with other.http:
        seen = other.look(session)
        assert seen["received"] == [[0, 1], [3, 3]]
        assert seen["missing"] == [[2, 2], [4, session["total_chunks"] - 1]]
        for first, last in seen["missing"]:
            for number in range(first, last + 1):
                answered(other.send(session, archive, number))
        done = answered(other.complete(session))
    client.settled(done["model_id"])


def test_the_same_part_again_is_fine_and_other_bytes_are_a_conflict(client: Client) -> None:
    archive = archived(SEVERAL_PARTS)
    session = client.open_archive("again", archive)
    first = answered(client.send(session, archive, 0))
    assert answered(client.send(session, archive, 0)) == first

    other = client.send_bytes(session, bytes(CHUNK_BYTES), 0)

    refused(other, 409, "part_conflict")
    assert other.headers["x-should-retry"] == "false"
    answered(client.delete(f"uploads/{session['session_id']}"))


def test_a_part_with_a_wrong_checksum_or_size_does_not_count(client: Client) -> None:
    archive = archived(SEVERAL_PARTS)
    session = client.open_archive("wrong", archive)
    parts = f"uploads/{session['session_id']}/parts?part_number="

    wrong = client.post(f"{parts}0", data=archive[:CHUNK_BYTES], headers={"X-Chunk-Checksum": "0" * 64})
    refused(wrong, 400, "checksum_mismatch")
    for short in (b"", archive[: CHUNK_BYTES - 1], archive[: CHUNK_BYTES + 1]):
        refused(client.send_bytes(session, short, 0), 400, "part_size_mismatch")
    refused(client.send_bytes(session, b"x", session["total_chunks"]), 400, "invalid_request")

    assert client.look(session)["received"] == []
    answered(client.delete(f"uploads/{session['session_id']}"))


def test_completing_too_early_names_what_is_missing(client: Client) -> None:
    archive = archived(SEVERAL_PARTS)
    session = client.open_archive("early", archive)
    for number in range(1, session["total_chunks"]):
        answered(client.send(session, archive, number))

    assert "Parts 0 of " in refused(client.complete(session), 409, "parts_missing")

    answered(client.send(session, archive, 0))
    client.settled(answered(client.complete(session))["model_id"])


def test_an_archive_of_another_format_than_announced_is_refused(client: Client) -> None:
    archive = archived(given_llama(), "tar.gz")
    session = client.open_archive("other format", archive, "tar.bz2")
    for number in range(session["total_chunks"]):
        answered(client.send(session, archive, number), 200, 422)

    message = refused(client.complete(session), 422, "archive_rejected")
    assert "bz" in message
    assert client.settled(session["model_id"], "error")["status_reason"] in message


def test_an_unknown_format_is_refused_with_the_known_ones(client: Client) -> None:
    body = {"model_name": "zip", "archive_size": 10, "archive_format": "zip"}
    message = refused(client.post("uploads/archive", json=body), 400, "invalid_request")
    assert "archive_format" in message


def test_a_hostile_archive_is_refused_while_it_is_uploaded(client: Client, deployment: Deployment) -> None:
    """At its first bad byte: the rest need not be sent, the next part is told why, and nothing is kept."""
    harmless = b"".join(member(f"shard-{number}.bin", bytes(CHUNK_BYTES)) for number in range(3))
    archive = harmless + member("../../etc/cron.d/evil", b"x") + bytes(20 * CHUNK_BYTES) + END
    session = client.open_archive("hostile", archive, "tar")

    def next_part() -> str:
        number = client.look(session)["uploaded_chunks"]
        assert number < session["total_chunks"] - 1, "the whole archive was taken"
        return refused(client.send(session, archive, number), 422, "archive_rejected")

    message = eventually_sync(next_part)

    assert "../../etc/cron.d/evil" in message
    assert client.look(session)["error"]["finding"]["file"] == "../../etc/cron.d/evil"
    assert message.startswith(client.settled(session["model_id"], "error")["status_reason"])
    eventually_sync(lambda: _nothing_stored(deployment, client))


def test_an_aborted_upload_leaves_nothing(client: Client, deployment: Deployment) -> None:
    archive = archived(SEVERAL_PARTS)
    session = client.open_archive("aborted", archive)
    for number in range(4):
        answered(client.send(session, archive, number))
    assert len(deployment.stored(client.project_id)) >= 4

    answered(client.delete(f"uploads/{session['session_id']}"))

    eventually_sync(lambda: _nothing_stored(deployment, client))
    assert answered(client.get("models"))["data"] == []


def test_an_expired_upload_leaves_nothing(client: Client, deployment: Deployment) -> None:
    archive = archived(SEVERAL_PARTS)
    session = client.open_archive("expired", archive)
    answered(client.send(session, archive, 0))
    deployment.sql("gateway", "UPDATE upload SET expires_at = now() WHERE id = $1", session["session_id"])

    eventually_sync(lambda: _expired(client, session))
    eventually_sync(lambda: _nothing_stored(deployment, client))


def test_a_client_that_vanishes_within_a_part_leaves_nothing(client: Client, deployment: Deployment) -> None:
    archive = archived(SEVERAL_PARTS)
    session = client.open_archive("vanished", archive)
    url = urlsplit(f"{client.base}/uploads/{session['session_id']}/parts?part_number=0")
    with socket.create_connection((url.hostname or "", url.port or 0)) as connection:
        head = f"POST {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Bearer {client.key}\r\n"
        connection.sendall(f"{head}Content-Length: {CHUNK_BYTES}\r\n\r\n".encode() + archive[: CHUNK_BYTES // 2])

    assert client.look(session)["received"] == []
    answered(client.send(session, archive, 0))
    answered(client.delete(f"uploads/{session['session_id']}"))


def test_the_same_content_is_stored_once(client: Client, deployment: Deployment) -> None:
    archive = archived(SEVERAL_PARTS)
    first = client.upload("original", archive)
    client.settled(first["model_id"])
    deployment.settle(client.project_id)
    stored = deployment.stored(client.project_id)

    second = client.upload("copy", archive)

    client.settled(second["model_id"])
    deployment.settle(client.project_id)
    assert deployment.stored(client.project_id) == stored
    assert len(stored) == len(SEVERAL_PARTS)
    assert sum(stored.values()) == sum(len(content) for content in SEVERAL_PARTS.values())


def test_one_changed_shard_of_four_costs_one_shard(client: Client, deployment: Deployment) -> None:
    """Of a directory, nothing else is even sent."""
    old, new = given_big_llama(4 * CHUNK_BYTES, shards=4), given_big_llama(4 * CHUNK_BYTES, shards=4, seed=1)
    changed = "model-00002-of-00004.safetensors"
    version_2 = old | {changed: new[changed]}
    client.settled(_upload_directory(client, "sharded", old)["model_id"])
    deployment.settle(client.project_id)
    before = deployment.stored(client.project_id)
    sent: list[str] = []

    client.settled(_upload_directory(client, "sharded", version_2, sent)["model_id"])

    deployment.settle(client.project_id)
    added = deployment.stored(client.project_id).keys() - before.keys()
    assert sent == [changed]
    assert len(added) == 1
    assert client.model("sharded")["version"] != "1.0.0"


def test_storage_holds_what_is_accounted_for_while_a_directory_is_under_way(
    client: Client, deployment: Deployment
) -> None:
    """Of one file a part and a tail, of another one large chunks that are one object; then all of it, and no more."""
    mib, resumed, chunked = 1024 * 1024, "resumed.txt", "chunked.txt"
    files = given_llama() | {resumed: bytes(17 * mib), chunked: b"x" * (11 * mib)}
    manifest = [{"relative_path": path, "size": len(content)} for path, content in files.items()]
    session = answered(client.post("uploads/directory", json={"model_name": "under-way", "files": manifest}))
    url = f"uploads/{session['session_id']}/files"

    def append(start: int, end: int) -> int:
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{17 * mib}"}
        body = files[resumed][start:end]
        return client.http.put(f"{client.base}/{url}/{resumed}", data=body, headers=headers, timeout=90).status_code

    assert append(0, 16 * mib + 1000) == 308
    for path, content in files.items():
        if path not in (resumed, chunked):
            answered(client.post(f"{url}/{quote(path)}", data=content))
    for number in (1, 0):
        chunk = files[chunked][number * 6 * mib : (number + 1) * 6 * mib]
        answered(client.post(f"{url}/{chunked}?part_number={number}&part_count=2", data=chunk))
    deployment.settle(client.project_id)
    assert sum(deployment.stored(client.project_id).values()) == sum(map(len, files.values())) - 17 * mib + 1000

    assert append(16 * mib + 1000, 17 * mib) == 200
    client.settled(answered(client.complete(session))["model_id"])
    deployment.settle(client.project_id)
    assert sum(deployment.stored(client.project_id).values()) == sum(map(len, files.values()))


def test_files_of_a_directory_may_be_sent_in_chunks_in_any_order(client: Client) -> None:
    files = given_big_llama(4 * CHUNK_BYTES) | {"1_Pooling/with space & 100%.json": b"{}"}
    manifest = [{"relative_path": path, "size": len(content)} for path, content in files.items()]
    session = answered(client.post("uploads/directory", json={"model_name": "chunked", "files": manifest}))
    weights = files.pop("model.safetensors")
    for path, content in files.items():
        answered(client.post(f"uploads/{session['session_id']}/files/{quote(path)}", data=content))
    count = 5
    size = -(-len(weights) // count)
    for number in reversed(range(count)):
        answered(
            client.post(
                f"uploads/{session['session_id']}/files/model.safetensors?part_number={number}&part_count={count}",
                data=weights[number * size : (number + 1) * size],
            )
        )

    done = answered(client.complete(session))

    assert {each["relative_path"]: each["sha256"] for each in done["files"]}["model.safetensors"] == hashlib.sha256(
        weights
    ).hexdigest()
    client.settled(done["model_id"])


def test_an_archive_with_everything_in_one_folder_is_taken_out_of_it(client: Client) -> None:
    done = client.upload("in a folder", archived(given_llama(), folder="tiny-llama/"))
    assert done["stripped_prefix"] == "tiny-llama"
    assert "config.json" in {each["relative_path"] for each in done["files"]}
    client.settled(done["model_id"])


def test_without_waiting_complete_says_where_to_look(client: Client, deployment: Deployment) -> None:
    archive = archived(given_llama())
    session = client.open_archive("later", archive)
    with deployment.frozen("extractor"):
        for number in range(session["total_chunks"]):
            answered(client.send(session, archive, number))
        answer = client.complete(session, wait_s=0)
        assert answered(answer, 202)["status"] == "processing"
    location = answer.headers["Location"]
    eventually_sync(lambda: _completed(client.http.get(location).json()))
    assert answered(client.complete(session))["status"] == "completed"
    client.settled(session["model_id"])


def test_a_model_that_would_not_load_is_an_error_with_the_reason(client: Client) -> None:
    files = given_llama(shards=2)
    del files["model-00002-of-00002.safetensors"]
    done = client.upload("torn", archived(files))

    model = client.settled(done["model_id"], "error")

    assert "model-00002-of-00002.safetensors" in model["status_reason"]
    findings = answered(client.get(f"models/{done['model_id']}/report"))["findings"]
    assert any(finding["severity"] == "error" for finding in findings)


def test_a_project_sees_nothing_of_another(client: Client, new_client: Callable[[], Client]) -> None:
    done = client.upload("mine", archived(given_llama()))
    client.settled(done["model_id"])
    stranger = new_client()
    with stranger.http:
        refused(stranger.get(f"models/{done['model_id']}"), 404, "model_not_found")
        assert answered(stranger.get("models"))["data"] == []


def _upload_directory(
    client: Client, name: str, files: dict[str, bytes], sent: list[str] | None = None
) -> dict[str, Any]:
    manifest = [
        {"relative_path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for path, content in files.items()
    ]
    session = answered(client.post("uploads/directory", json={"model_name": name, "files": manifest}))
    for slot in session["files"]:
        path = slot["relative_path"]
        if not slot["present"]:
            answered(client.post(f"uploads/{session['session_id']}/files/{quote(path)}", data=files[path]))
            if sent is not None:
                sent.append(path)
    return answered(client.complete(session))


def _nothing_stored(deployment: Deployment, client: Client) -> None:
    assert deployment.stored(client.project_id) == {}


def _expired(client: Client, session: dict[str, Any]) -> None:
    assert client.look(session)["status"] == "expired"


def _completed(session: dict[str, Any]) -> None:
    assert session["status"] == "completed", session["status"]
