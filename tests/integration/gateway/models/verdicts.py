"""What the validator and the bus would tell of a model."""

from __future__ import annotations

from datetime import datetime

from libs.contracts import (
    Event,
    Finding,
    ModelMetadata,
    ModelValidationParked,
    ModelValidationRequested,
    Report,
)
from tests.integration.gateway.harness import NOON, Uploads

SYMLINK = Finding(rule="tar-symlink", severity="error", message="is a link.", fix="Use tar -h.", file="a.json")


def report(*findings: Finding) -> Report:
    metadata = ModelMetadata(architecture="LlamaForCausalLM", quantization="native", context_length=2048)
    return Report(findings=list(findings), metadata=metadata, files_read=2, bytes_read=100, validator="test")


async def asked_for(uploads: Uploads, model_id: str) -> ModelValidationRequested:
    """The last question about this model."""
    asked = await uploads.emitted(ModelValidationRequested)
    return [event for event in asked if event.model_id == model_id][-1]


def parked(asked: ModelValidationRequested, retry_at: datetime, reason: str = "storage is away.") -> Event:
    """The validator's word that it cannot check the model now."""
    return ModelValidationParked(
        model_id=asked.model_id, validation_id=asked.validation_id, reason=reason, retry_at=retry_at, at=NOON
    )
