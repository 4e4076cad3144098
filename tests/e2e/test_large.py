"""What does not grow with a model: memory, and what validation reads."""

from __future__ import annotations

import pytest

from tests.e2e.client import Client, answered
from tests.support.deployment import Deployment
from tests.support.models import given_big_llama, given_llama
from tests.support.processes import peak_bytes

MIB = 1024 * 1024


def send_directory(client: Client, name: str, files: dict[str, bytes]) -> dict[str, object]:
    """Every file in one request; the model, once it is ready."""
    manifest = [{"relative_path": path, "size": len(content)} for path, content in files.items()]
    opened = answered(client.post("uploads/directory", json={"model_name": name, "files": manifest}))
    for path, content in files.items():
        answered(client.post(f"uploads/{opened['session_id']}/files/{path}", data=content))
    completed = answered(client.complete(opened))
    return client.settled(completed["model_id"])


@pytest.mark.slow
def test_a_gibibyte_passes_in_fixed_memory_and_is_verified_by_its_headers(
    client: Client, deployment: Deployment
) -> None:
    """After a small model, which tells what the processes take anyway."""
    send_directory(client, "small", given_llama())
    before = {name: peak_bytes(deployment.pid(name)) for name in ("gateway", "validator")}

    model = send_directory(client, "large", given_big_llama(1024 * MIB))

    assert model["size_bytes"] >= 1024 * MIB
    report = answered(client.get(f"models/{model['id']}/report"))
    assert report["bytes_read"] < 64 * 1024
    for name, peak in before.items():
        assert peak_bytes(deployment.pid(name)) - peak < 64 * MIB, name
