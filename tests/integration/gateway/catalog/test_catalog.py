"""The catalog: what it shows, to whom, and how it is searched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.gateway.models.states import STATES, USABLE
from tests.integration.gateway.installation import Installation

NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
MEMORY = {"weights_bytes": 4, "kv_bytes_per_token": None, "smallest_gpu": "T4"}
PUBLIC = {
    "id": "m1",
    "object": "model",
    "name": "tiny",
    "version": "1.0.0",
    "owner": "theirs",
    "description": "For tests",
    "license": "mit",
    "architecture": "LlamaForCausalLM",
    "quantization": "awq",
    "format": "safetensors",
    "context_length": 8192,
    "parameter_count": 7_000_000_000,
    "workload_type": "code",
    "size_bytes": 4294967296,
    "size_formatted": "4.00 GB",
    "memory": MEMORY,
    "deployable": True,
    "catalog_role": "deployable",
    "deployment_count": 0,
    "featured": False,
}
_OF_ITS_ROW = set(PUBLIC) - {"id", "object", "owner", "size_formatted", "catalog_role", "deployment_count", "featured"}


async def given_two_projects(installation: Installation) -> tuple[Any, str, str]:
    """A project that shares, its key, and the key of a member of another project, which may not even share."""
    theirs, mine = await installation.given_project("theirs"), await installation.given_project("mine", sharing=False)
    return theirs, await installation.given_key(theirs), await installation.given_key(mine, role="member")


async def given_shared(installation: Installation, project: Any, model_id: str, **columns: Any) -> str:
    """A model in the catalog, as if shared at noon, or at `shared_at`."""
    shared = {"is_shared": True, "catalog_role": "deployable", "shared_at": NOON, **columns}
    return await installation.given_model(project, model_id, **shared)


async def found(installation: Installation, key: str, query: str = "") -> list[str]:
    """The ids that a list of the catalog shows."""
    return [each["id"] for each in (await installation.call(key, "GET", f"catalog{query}"))["data"]]


async def test_a_shared_model_is_shown_to_every_project_with_what_is_public_of_it(installation: Installation) -> None:
    theirs, owner, other = await given_two_projects(installation)
    row = {name: PUBLIC[name] for name in _OF_ITS_ROW} | {"status_reason": "private", "validation_id": "private"}
    await installation.given_model(theirs, "m1", **row)
    shared = await installation.call(owner, "POST", "models/m1/share")
    entry = PUBLIC | {"shared_at": shared["sharedAt"]}
    listed = await installation.call(other, "GET", "catalog")
    one = await installation.call(other, "GET", "catalog/m1")
    info = await installation.call(other, "GET", "models/m1/catalog-info")
    assert listed == {"object": "list", "data": [entry], "has_more": False, "first_id": "m1", "last_id": "m1"}
    assert one == entry
    assert info == {
        "id": "m1",
        "catalog_role": "deployable",
        "deployment_count": 0,
        "is_on_shared_agents": False,
        "is_public": True,
        "featured": False,
        "shared_at": shared["sharedAt"],
    }
    for key, model in ((owner, "m1"), (owner, "tiny")):
        assert await installation.call(key, "GET", f"models/{model}/catalog-info") == info


async def test_an_empty_catalog_is_an_empty_list(installation: Installation) -> None:
    _, owner, _ = await given_two_projects(installation)
    empty = {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}
    for query in ("", "?q=x", "?q=xyz", "?owner=nobody", "?owner=mine&q=abc", "?architecture=x&limit=1", "?q=%20"):
        assert await installation.call(owner, "GET", f"catalog{query}") == empty


async def test_what_is_not_in_the_catalog_is_like_what_is_not_there(installation: Installation) -> None:
    theirs, owner, other = await given_two_projects(installation)
    await installation.given_model(theirs, "secret")
    await given_shared(installation, theirs, "broken", status="error", status_reason="a private reason")
    await given_shared(installation, theirs, "withdrawn")
    await installation.call(owner, "POST", "models/withdrawn/unshare")
    for path in ("catalog/{}", "models/{}/catalog-info"):
        nothing = await installation.refused(other, "GET", path.format("nothing"), 404)
        assert nothing["code"] == "model_not_found"
        for model_id in ("secret", "broken", "withdrawn"):
            assert await installation.refused(other, "GET", path.format(model_id), 404) == nothing
    for model_id in ("secret", "broken"):
        after = await installation.refused(other, "GET", f"catalog?after={model_id}x", 400)
        assert after["param"] == "after"
    assert await installation.refused(other, "GET", "catalog?after=secret", 400) == after
    assert (await installation.refused(other, "GET", "catalog/theirs", 404))["code"] == "model_not_found"


async def test_an_owner_is_told_why_a_model_is_not_in_the_catalog(installation: Installation) -> None:
    theirs, owner, _ = await given_two_projects(installation)
    await given_shared(installation, theirs, "m1", status="error", status_reason="a reason")
    await installation.given_model(theirs, "m2")
    broken = await installation.refused(owner, "GET", "models/m1/catalog-info", 404)
    private = await installation.refused(owner, "GET", "models/m2/catalog-info", 404)
    await installation.turn("m1", "ready")
    await installation.operate("DELETE", f"/{theirs['id']}/features/model_sharing")
    closed = await installation.refused(owner, "GET", "models/m1/catalog-info", 404)
    assert {each["code"] for each in (broken, private, closed)} == {"model_not_found"}
    assert "'error'" in broken["message"]
    assert "models/m2/share" in private["message"]
    assert "not enabled" in closed["message"]


@pytest.mark.parametrize("status", sorted({*STATES} - {*USABLE}))
async def test_a_model_leaves_the_catalog_while_it_cannot_be_used(installation: Installation, status: str) -> None:
    theirs, _, other = await given_two_projects(installation)
    await given_shared(installation, theirs, "m1", name="tiny llama", deadline_at=NOON, validation_id="v")
    shown = []
    for state in ("ready", status, "active"):
        await installation.turn("m1", state)
        shown.append([await found(installation, other), await found(installation, other, "?q=llama")])
    assert shown == [[["m1"], ["m1"]], [[], []], [["m1"], ["m1"]]]


@pytest.mark.parametrize("how", ["feature", "project"])
async def test_models_of_a_project_that_may_not_share_are_not_shown(installation: Installation, how: str) -> None:
    """What the operator has withdrawn from a project, or the project as a whole: its models are gone at once."""
    theirs, _, other = await given_two_projects(installation)
    await given_shared(installation, theirs, "m1", name="tiny")
    path = f"/{theirs['id']}"
    await installation.operate("DELETE", f"{path}/features/model_sharing" if how == "feature" else path)
    assert [await found(installation, other, query) for query in ("", "?q=tiny", "?q=t")] == [[], [], []]
    await installation.refused(other, "GET", "catalog/m1", 404)
    await installation.refused(other, "GET", "models/m1/catalog-info", 404)
    if how == "feature":
        await installation.operate("PUT", f"{path}/features/model_sharing")
        assert await found(installation, other) == ["m1"]


async def test_text_is_found_at_any_position_in_any_case(installation: Installation) -> None:
    theirs, _, other = await given_two_projects(installation)
    texts: dict[str, dict[str, Any]] = {
        "name": {"name": "Qwen3-0.6B-Instruct"},
        "architecture": {"name": "b", "architecture": "MistralForCausalLM"},
        "description": {"name": "c", "description": f"{'x ' * 400}100% of_the\\best, 模型 for École"},
        "late": {"name": "d", "description": f"{'x' * 1000}unseen"},
    }
    for model_id, columns in texts.items():
        await given_shared(installation, theirs, model_id, **columns)
    expected = {
        "QWEN": ["name"],
        "3-0.6b-inst": ["name"],
        "6B": ["name"],
        "qwen3-0.6b-instruct": ["name"],
        "qwen3-0.6b-instructs": [],
        "strALfor": ["architecture"],
        "100%25 OF_the": ["description"],
        "e\\b": ["description"],
        "模型": ["description"],
        "模": ["description"],
        "École": ["description"],
        "100_": [],
        "0%25b": [],
        "unseen": [],
        "instructMistral": [],
        "ob": [],
    }
    assert {q: await found(installation, other, f"?q={q}") for q in expected} == expected


async def test_filters_hold_all_at_once(installation: Installation) -> None:
    theirs, _, other = await given_two_projects(installation)
    second = await installation.given_project("second")
    for number in range(16):
        await given_shared(
            installation,
            second if number & 1 else theirs,
            f"m{number:02}",
            architecture="LlamaForCausalLM" if number & 2 else "BertModel",
            workload_type="embedding" if number & 4 else "chat",
            quantization="awq" if number & 8 else None,
            format="gguf" if number & 8 else "safetensors",
        )
    numbers = {
        "?owner=second": {n for n in range(16) if n & 1},
        "?architecture=BertModel": {n for n in range(16) if not n & 2},
        "?workload_type=embedding&format=gguf": {12, 13, 14, 15},
        "?quantization=awq&owner=theirs&q=llama": {10, 14},
        "?architecture=BertModel&owner=second&workload_type=chat&format=safetensors": {1},
        "?owner=second&q=M1": {11, 13, 15},
        "?owner=second&q=9": {9},
        "?architecture=bertmodel": set(),
        "?owner=second&q=mll": set(),
    }
    shown = {query: {int(each[1:]) for each in await found(installation, other, query)} for query in numbers}
    assert shown == numbers


async def test_the_last_shared_comes_first_and_pages_follow(installation: Installation) -> None:
    theirs, owner, other = await given_two_projects(installation)
    for number in range(7):
        await given_shared(installation, theirs, f"m{number}", shared_at=NOON + timedelta(minutes=number // 2))
    first = await installation.call(other, "GET", "catalog?limit=3")
    await installation.call(owner, "POST", f"models/{first['last_id']}/unshare")
    second = await installation.call(other, "GET", f"catalog?limit=3&after={first['last_id']}")
    third = await installation.call(other, "GET", f"catalog?limit=3&after={second['last_id']}")
    pages = [[each["id"] for each in page["data"]] for page in (first, second, third)]
    assert pages == [["m6", "m5", "m4"], ["m3", "m2", "m1"], ["m0"]]
    assert [page["has_more"] for page in (first, second, third)] == [True, True, False]
    assert (second["first_id"], second["last_id"]) == ("m3", "m1")


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=101", "limit"), ("q=" + "x" * 201, "q"), ("q=a%00b", "q"), ("owner=%0A", "owner")],
)
async def test_a_query_that_cannot_be_is_refused_with_its_parameter(
    installation: Installation, query: str, param: str
) -> None:
    _, owner, _ = await given_two_projects(installation)
    assert (await installation.refused(owner, "GET", f"catalog?{query}", 400))["param"] == param


@pytest.mark.parametrize("path", ["catalog", "catalog/m1", "models/m1/catalog-info"])
async def test_the_catalog_is_for_keys_with_the_scope_of_models(installation: Installation, path: str) -> None:
    project = await installation.given_project("mine")
    key = await installation.given_key(project, scopes=["files", "batches", "inference"])
    assert (await installation.refused(key, "GET", path, 403))["code"] == "scope_required"
    assert (await installation.refused("nobody", "GET", path, 401))["code"] == "authentication_error"
