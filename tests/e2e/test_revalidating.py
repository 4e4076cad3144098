"""A model that is checked anew by the real validator, and what a client had said of it."""

from __future__ import annotations

from typing import Any

from tests.e2e.client import Client, answered, archived
from tests.support.models import given_llama


def test_a_model_is_checked_anew_and_keeps_what_its_client_said(client: Client) -> None:
    model_id = client.upload("tiny", archived(given_llama()))["model_id"]
    found = client.settled(model_id)
    said: dict[str, Any] = {"description": "Fine-tuned", "architecture": "Qwen3ForCausalLM", "context_length": 77}
    changed = answered(client.http.patch(f"{client.base}/models/tiny", json=said, timeout=90))
    assert {name: changed[name] for name in said} == said

    for _ in range(2):
        queued = answered(client.post("models/tiny/revalidate"))
        assert queued == {"id": model_id, "status": "validating", "message": "Model validation queued"}
        again = client.settled(model_id)
        assert {**found, **said, "updated_at": again["updated_at"]} == again
    report = answered(client.get("models/tiny/report"))
    assert report["metadata"]["architecture"] == found["architecture"]
