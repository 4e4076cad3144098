"""Memory is bounded for all bodies together: many uploads at once take little more than a few."""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deploy.local import pidfiles
from tests.e2e.client import Client, answered
from tests.support.deployment import Deployment
from tests.support.processes import peak_bytes

MIB = 1024 * 1024
AT_ONCE = 50
SIZE = 12 * MIB  # of each body; much more than its share of the memory
MOST_BYTES = 150 * MIB  # of the whole process, about 60 of which it takes with nothing to do
PATH = "model.safetensors"


def send(client: Client, session_id: str, block: bytes, everybody: threading.Barrier) -> int:
    """One file in one request, which has begun before any goes on; the status of the answer."""
    url = urlsplit(client.base)
    connection = http.client.HTTPConnection(url.netloc, timeout=150)
    try:
        connection.putrequest("PUT", f"{url.path}/uploads/{session_id}/files/{PATH}")
        connection.putheader("Authorization", f"Bearer {client.key}")
        connection.putheader("Content-Length", str(SIZE))
        connection.endheaders()
        connection.send(block)
        everybody.wait(timeout=100)
        for _ in range(SIZE // len(block) - 1):
            connection.send(block)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.slow
def test_fifty_uploads_at_once_take_little_memory(
    deployment: Deployment, new_client: Callable[[], Client], tmp_path: Path
) -> None:
    """On a gateway of their own, whose peak nothing else has raised; of two projects, which have a share each."""
    with deployment.another_gateway(tmp_path) as address:
        gateway = pidfiles.running_process(tmp_path / "run" / "gateway.pid")
        assert gateway is not None
        projects = [new_client() for _ in range(2)]
        clients = [Client(address, project.project_id, project.key) for project in projects]
        block = random.Random(9).randbytes(MIB)
        everybody = threading.Barrier(AT_ONCE)
        manifest = [{"relative_path": PATH, "size": SIZE}]
        sessions = [
            (client, answered(client.post("uploads/directory", json={"model_name": f"m{number}", "files": manifest})))
            for number in range(AT_ONCE // 2)
            for client in clients
        ]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            sending = [threads.submit(send, client, each["session_id"], block, everybody) for client, each in sessions]
            statuses = {each.result() for each in sending}
        for client, each in sessions:
            assert client.delete(f"uploads/{each['session_id']}").ok
        assert statuses == {200}
        assert peak_bytes(gateway.pid) < MOST_BYTES
        for client in (*projects, *clients):
            client.http.close()
