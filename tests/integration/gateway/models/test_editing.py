"""PATCH: what a client says of a model, each field checked, all of them or none."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from libs.contracts import ModelMetadata, ModelValidated, Report
from libs.db import connection
from libs.modelfiles import vllm
from services.gateway.models.schemas import QUANTIZATIONS
from tests.integration.gateway.harness import FILES, NOON, Uploads
from tests.integration.gateway.models.verdicts import asked_for

FOUND = ModelMetadata(
    format="safetensors",
    architecture="LlamaForCausalLM",
    quantization="native",
    context_length=2048,
    parameter_count=1_000,
    hidden_size=64,
    num_layers=2,
    vocab_size=128,
    dtype="BF16",
    workload_type="chat",
    license="mit",
)
SAID: dict[str, Any] = {
    "description": "Fine-tuned for code generation tasks",
    "license": "Apache-2.0",
    "architecture": "Qwen3ForCausalLM",
    "quantization": "awq",
    "context_length": 32768,
    "parameter_count": 7_000_000_000,
    "hidden_size": 4096,
    "num_layers": 32,
    "vocab_size": 128_256,
    "workload_type": "code",
}


async def verdict(uploads: Uploads, model_id: str, found: ModelMetadata = FOUND) -> None:
    """The validator's word on what the model waits for."""
    asked = await asked_for(uploads, model_id)
    report = Report(findings=[], metadata=found, files_read=1, bytes_read=1, validator="test")
    await uploads.deliver(ModelValidated(model_id=model_id, validation_id=asked.validation_id, report=report, at=NOON))


async def given_model(uploads: Uploads, name: str = "tiny") -> str:
    model_id = str((await uploads.upload_directory(FILES, name))["model_id"])
    await verdict(uploads, model_id)
    return model_id


async def patch(uploads: Uploads, model: str, status: int = 200, /, **fields: Any) -> dict[str, Any]:
    return await uploads.call("PATCH", f"models/{model}", status, json=fields)


def but_for(model: dict[str, Any], *fields: str) -> dict[str, Any]:
    return {name: value for name, value in model.items() if name not in {"updated_at", *fields}}


async def test_every_documented_field_is_set_and_answered_in_full(uploads: Uploads) -> None:
    model_id = await given_model(uploads)
    before = await uploads.model(model_id)
    changed = await patch(uploads, model_id, **SAID)
    assert changed == {**before, **SAID, "updated_at": changed["updated_at"]}
    assert await uploads.model(model_id) == changed


@pytest.mark.parametrize("field", sorted(SAID))
async def test_only_the_field_that_is_given_changes(uploads: Uploads, field: str) -> None:
    model_id = await given_model(uploads)
    before = await uploads.model(model_id)
    changed = await patch(uploads, model_id, **{field: SAID[field]})
    assert changed[field] == SAID[field] != before[field]
    assert but_for(changed, field) == but_for(before, field)


async def test_null_clears_a_field_and_nothing_given_changes_nothing(uploads: Uploads) -> None:
    model_id = await given_model(uploads)
    await patch(uploads, model_id, **SAID)
    before = await uploads.model(model_id)
    assert await patch(uploads, model_id) == before
    clearable = {field: None for field in SAID if field != "workload_type"}
    changed = await patch(uploads, model_id, **clearable)
    assert {field: changed[field] for field in SAID} == {**clearable, "workload_type": "code"}


WRONG: list[tuple[str, Any, str]] = [
    ("description", 1, "expected str | null, got int"),
    ("description", "x" * 4097, "expected str of length <= 4096"),
    ("license", "", "expected str of length >= 1"),
    ("license", "x" * 256, "expected str of length <= 255"),
    ("architecture", ["LlamaForCausalLM"], "expected str | null, got array"),
    ("architecture", "", "expected str of length >= 1"),
    ("quantization", "q4_k_m", "expected one of 'auto_awq', 'auto_gptq', 'awq', "),
    ("quantization", "awq\n", "expected one of "),
    ("quantization", True, "expected str | null, got bool"),
    ("context_length", 0, "integer below minimum value. Expected a value >= 1, but got 0 instead"),
    ("context_length", "32768", "expected int | null, got str"),
    ("context_length", 2**31, "integer above maximum value"),
    ("parameter_count", -1, "integer below minimum value"),
    ("parameter_count", 7.5e9, "expected int | null, got float"),
    ("parameter_count", 2**70, "integer above maximum value"),
    ("hidden_size", True, "expected int | null, got bool"),
    ("num_layers", 1.5, "expected int | null, got float"),
    ("vocab_size", {}, "expected int | null, got object"),
    ("workload_type", "poetry", "expected one of 'chat', 'code', 'embedding', 'multilingual', 'reasoning', but got"),
    ("workload_type", None, "expected str, got null"),
    ("status", "ready", "Unknown field 'status'; the fields are description, license, architecture, "),
    ("name", "other", "Unknown field 'name'"),
]


@pytest.mark.parametrize(("field", "value", "message"), WRONG, ids=lambda value: str(value)[:20])
async def test_a_wrong_field_is_named_with_what_is_allowed_and_nothing_is_written(
    uploads: Uploads, field: str, value: Any, message: str
) -> None:
    model_id = await given_model(uploads)
    before = await uploads.model(model_id)
    error = (await patch(uploads, model_id, 400, **{"description": "new", field: value}))["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", field)
    assert message in error["message"]
    assert await uploads.model(model_id) == before


async def test_several_wrong_fields_are_all_listed(uploads: Uploads) -> None:
    model_id = await given_model(uploads)
    error = (await patch(uploads, model_id, 400, license="mit", vocab_size=0, quantization="q4", color="red"))["error"]
    assert (error["param"], error["code"]) == ("vocab_size", "integer_below_min_value")
    assert error["message"].endswith("Also wrong, see 'errors': 'quantization', 'color'.")
    assert [(each["param"], each["code"]) for each in error["errors"]] == [
        ("vocab_size", "integer_below_min_value"),
        ("quantization", "invalid_request"),
        ("color", "invalid_request"),
    ]
    assert all(each["message"] for each in error["errors"])


@pytest.mark.parametrize("body", [b"[]", b"null", b"{", b'{"description": "\\u0000"}', b'{"description": "\\ud800"}'])
async def test_what_is_no_object_of_fields_is_refused(uploads: Uploads, body: bytes) -> None:
    model_id = await given_model(uploads)
    before = await uploads.model(model_id)
    error = (await uploads.call("PATCH", f"models/{model_id}", 400, data=body))["error"]
    assert error["type"] == "invalid_request_error"
    assert await uploads.model(model_id) == before


@pytest.mark.parametrize("method", QUANTIZATIONS)
async def test_every_method_of_vllm_and_the_documented_older_ones_can_be_said(uploads: Uploads, method: str) -> None:
    model_id = await given_model(uploads)
    changed = await patch(uploads, model_id, quantization=method)
    served = method not in vllm.LEGACY_QUANTIZATION
    assert (changed["quantization"], changed["deployable"]) == (method, served)
    assert (method in (changed["deployable_reason"] or "")) is not served
    assert (await patch(uploads, model_id, quantization="native"))["deployable"] is True


async def test_a_name_stands_for_its_latest_version(uploads: Uploads) -> None:
    first, second = await given_model(uploads), await given_model(uploads)
    assert (await patch(uploads, "tiny", description="new"))["id"] == second
    assert (await uploads.model(first))["description"] is None


async def test_a_model_can_be_described_in_every_state_that_is_shown(uploads: Uploads) -> None:
    model_id = str((await uploads.open_directory(FILES))["model_id"])
    async with connection(uploads.pool) as tx:
        for state in ("uploading", "processing", "validating", "ready", "active", "error"):
            await tx.execute(
                """
                UPDATE model SET status = $2, status_reason = 'a reason', validation_id = 'v', deadline_at = now()
                 WHERE id = $1
                """,
                model_id,
                state,
            )
            changed = await patch(uploads, model_id, description=state)
            assert (changed["status"], changed["description"]) == (state, state)
    await uploads.call("DELETE", f"models/{model_id}")
    error = (await patch(uploads, model_id, 404, description="deleted"))["error"]
    assert error["code"] == "model_not_found"


async def test_what_a_client_said_outlives_verdicts_and_the_report_shows_what_was_found(uploads: Uploads) -> None:
    model_id = str((await uploads.upload_directory(FILES))["model_id"])
    said = {
        "architecture": "Qwen3ForCausalLM",
        "context_length": None,
        "license": "apache-2.0",
        "workload_type": "code",
    }
    await patch(uploads, model_id, **said)
    await verdict(uploads, model_id)
    model = await uploads.model(model_id)
    found = msgspec.to_builtins(FOUND)
    unsaid = [field for field in SAID if field not in {*said, "description"}]
    assert {field: model[field] for field in SAID if field != "description"} == {
        **said,
        **{field: found[field] for field in unsaid},
    }
    report = await uploads.call("GET", f"models/{model_id}/report")
    assert report["metadata"] == found


async def test_two_clients_that_set_different_fields_are_both_heard(uploads: Uploads) -> None:
    model_id = await given_model(uploads)
    await asyncio.gather(*(patch(uploads, model_id, **{field: value}) for field, value in SAID.items()))
    model = await uploads.model(model_id)
    assert {field: model[field] for field in SAID} == SAID
    async with connection(uploads.pool) as tx:
        assert await tx.fetchval("SELECT edited FROM model WHERE id = $1", model_id) == sorted(SAID)
