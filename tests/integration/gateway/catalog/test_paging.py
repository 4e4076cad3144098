"""Pages of the catalog, put together, are what matches: nothing is lost or doubled, whatever is shared meanwhile."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from services.gateway.catalog import listing
from tests.integration.gateway.installation import Installation

NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
WORDS = ["llama", "Qwen", "ama", "7B", "chat", "a", "模型", "fine-tuned", "x"]
CHOICES: dict[str, list[str | None]] = {
    "architecture": ["LlamaForCausalLM", "BertModel", None],
    "workload_type": ["chat", "embedding"],
    "quantization": ["awq", "gptq", None],
    "format": ["safetensors", None],
}

Model = dict[str, Any]


def some_model(choose: random.Random, number: int) -> Model:
    """A shared model with a few words in its texts; some were shared in the same moment."""
    words = " ".join(choose.choices(WORDS, k=choose.randrange(4)))
    return {
        "name": f"{choose.choice(WORDS)} {number}",
        "description": choose.choice([None, words]),
        "shared_at": NOON + timedelta(seconds=choose.randrange(20)),
        "is_shared": True,
        **{name: choose.choice(values) for name, values in CHOICES.items()},
    }


def some_query(choose: random.Random) -> dict[str, str]:
    """A few filters, perhaps with a text, which may go over the end of a word."""
    query = {name: choose.choice(values) for name, values in CHOICES.items() if choose.random() < 0.3}
    if choose.random() < 0.7:
        text = choose.choice(WORDS) + choose.choice(["", "", " ", choose.choice(WORDS)])
        query["q"] = text[choose.randrange(2) :]
    if choose.random() < 0.3:
        query["owner"] = choose.choice(["one", "two", "nobody"])
    return {name: value for name, value in query.items() if value is not None}


def matches(model: Model, query: dict[str, str]) -> bool:
    """What a query means, without an index."""
    texts = [model["name"], model["architecture"], model["description"]]
    text = query.get("q", "").strip().lower()
    return all(model[name] == value for name, value in query.items() if name != "q") and (
        not text or any(text in each.lower() for each in texts if each)
    )


async def all_pages(installation: Installation, key: str, query: dict[str, str], limit: int) -> list[str]:
    """The ids of every page, in order."""
    found: list[str] = []
    more: dict[str, str] = {}
    while True:
        page = await installation.call(key, "GET", f"catalog?{urlencode({**query, **more, 'limit': str(limit)})}")
        found += [each["id"] for each in page["data"]]
        assert len(page["data"]) == limit or not page["has_more"]
        if not page["has_more"]:
            return found
        more = {"after": page["last_id"]}


@pytest.mark.parametrize("seed", range(4))
async def test_pages_are_what_matches_in_order(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Whether the next models fill a page, or an index has to be asked for those that match."""
    choose = random.Random(seed)
    monkeypatch.setattr(listing, "LOOKED_AT", choose.choice([1, 5, 1000]))
    projects = {name: await installation.given_project(name) for name in ("one", "two")}
    key = await installation.given_key(projects["one"])
    models: list[Model] = []
    for number in range(60):
        model, owner = some_model(choose, number), choose.choice(list(projects))
        await installation.given_model(projects[owner], f"m{number}", **model)
        models.append({**model, "id": f"m{number}", "owner": owner, "number": number})
    models.sort(key=lambda each: (each["shared_at"], each["number"]), reverse=True)
    queries = [some_query(choose) for _ in range(30)]
    shown = [await all_pages(installation, key, query, choose.randrange(1, 20)) for query in queries]
    assert shown == [[each["id"] for each in models if matches(each, query)] for query in queries]
    assert sum(0 < len(each) < len(models) for each in shown) > 5  # else this test shows little


@pytest.mark.parametrize("query", [{}, {"q": "steady"}])
async def test_nothing_is_lost_or_doubled_while_others_are_shared_and_unshared(
    installation: Installation, query: dict[str, str]
) -> None:
    project = await installation.given_project("mine")
    key = await installation.given_key(project)
    steady = [f"steady{number}" for number in range(40)]
    restless = [f"restless-steady{number}" for number in range(10)]
    for model_id in [*steady, *restless]:
        await installation.given_model(project, model_id)
    for model_id in steady:
        await installation.call(key, "POST", f"models/{model_id}/share")
    stop = asyncio.Event()

    async def share_and_unshare(model_id: str) -> None:
        while not stop.is_set():
            for action in ("share", "unshare"):
                await installation.call(key, "POST", f"models/{model_id}/{action}")

    async with asyncio.TaskGroup() as others:
        for model_id in restless:
            others.create_task(share_and_unshare(model_id))
        walks = [await all_pages(installation, key, query, 7) for _ in range(5)]
        stop.set()
    assert [[each for each in walk if each in steady] for walk in walks] == [steady[::-1]] * 5
    assert [len(walk) == len(set(walk)) for walk in walks] == [True] * 5
