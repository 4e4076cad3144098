"""What does not grow with a model: memory, and what validation reads."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import Client, answered, archived
from tests.support.deployment import Deployment
from tests.support.models import given_big_llama, given_llama
from tests.support.processes import peak_bytes

MIB = 1024 * 1024


def send_directory(client: Client, name: str, files: dict[str, bytes]) -> dict[str, Any]:
    """Every file in one request; the model, once it is ready."""
    manifest = [{"relative_path": path, "size": len(content)} for path, content in files.items()]
    opened = answered(client.post("uploads/directory", json={"model_name": name, "files": manifest}))
    for path, content in files.items():
        answered(client.post(f"uploads/{opened['session_id']}/files/{path}", data=content))
    completed = answered(client.complete(opened))
    return client.settled(completed["model_id"])


@pytest.fixture(scope="module")
def large() -> dict[str, bytes]:
    """A model of a gibibyte."""
    return given_big_llama(1024 * MIB)


@pytest.mark.slow
def test_a_gibibyte_passes_in_fixed_memory_and_is_verified_by_its_headers(
    client: Client, deployment: Deployment, large: dict[str, bytes]
) -> None:
    """After a small model, which tells what the processes take anyway."""
    send_directory(client, "small", given_llama())
    before = {name: peak_bytes(deployment.pid(name)) for name in ("gateway", "validator")}

    model = send_directory(client, "large", large)

    assert model["size_bytes"] >= 1024 * MIB
    report = answered(client.get(f"models/{model['id']}/report"))
    assert report["bytes_read"] < 64 * 1024
    for name, peak in before.items():
        assert peak_bytes(deployment.pid(name)) - peak < 64 * MIB, name


@pytest.mark.slow
def test_a_gibibyte_is_unpacked_in_fixed_memory(
    client: Client, deployment: Deployment, large: dict[str, bytes], tmp_path: Path
) -> None:
    """Its parts go through two gateways by turns, of which only one opened the session."""
    archive = tmp_path / "large.tar"
    with tarfile.open(archive, "w") as tar:
        for path, content in large.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    client.settled(client.upload("small", archived(given_llama()))["model_id"])
    before = {name: peak_bytes(deployment.pid(name)) for name in ("gateway", "extractor", "lifecycle")}

    settings = {"SLIPWAY_CHUNK_SIZE_BYTES": str(32 * MIB)}
    with deployment.another_gateway(tmp_path, **settings) as address:
        other = Client(address, client.project_id, client.key)
        with other.http, archive.open("rb") as file:
            body = {"model_name": "large", "archive_size": archive.stat().st_size, "archive_format": "tar"}
            session = answered(other.post("uploads/archive", json=body))
            for number in range(session["total_chunks"]):
                gateway = (client, other)[number % 2]
                answered(gateway.send_bytes(session, file.read(session["chunk_size"]), number))
    answered(client.complete(session))

    client.settled(session["model_id"])
    for name, peak in before.items():
        assert peak_bytes(deployment.pid(name)) - peak < (80 if name == "extractor" else 64) * MIB, name
