"""The view of a model that rules are given: what follows from the files that were read."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from libs.modelfiles.weights import CONFIG, INDEX
from services.validator.model import Model
from tests.support.models import given_llama
from tests.unit.validator.harness import read


async def given_model(*, cut: str) -> Model:
    """A Llama in two shards; of the document `cut` less was read than there is."""
    facts = await read(given_llama(shards=2))
    facts.sizes[cut] += 1
    return facts.model()


async def test_a_config_that_is_too_large_to_be_read_whole_is_no_config() -> None:
    model = await given_model(cut=CONFIG)
    assert model.config is None
    assert model.config_error is not None
    assert model.config_error.rule == "config-too-large"
    assert model.resolved is None


async def test_an_index_that_is_too_large_to_be_read_whole_is_no_index() -> None:
    model = await given_model(cut=INDEX)
    assert model.index is None
    assert model.index_error is not None
    assert model.index_error.rule == "index-too-large"
    assert len(model.loaded) == 2


async def test_it_cannot_be_changed() -> None:
    model = (await read(given_llama())).model()
    with pytest.raises(FrozenInstanceError):
        model.__setattr__("sizes", {})
