"""Upgraded while it runs: the previous release on this one's schema and streams, and both at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.release import (
    ROOT,
    WORKERS,
    HistoryMissing,
    Place,
    exported,
    new_client,
    previous_commit,
    running,
    through,
)
from tests.e2e.client import Client, archived
from tests.support.models import given_llama
from tests.support.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def place(stack: Stack, tmp_path: Path) -> Iterator[Place]:
    place = Place(stack, tmp_path)
    yield place
    place.remove()


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The previous release's code."""
    folder = tmp_path / "previous"
    folder.mkdir()
    try:
        return exported(previous_commit(), folder)
    except HistoryMissing as missing:
        pytest.skip(str(missing))


def upload(client: Client, name: str, seed: int) -> None:
    """An archive, up to its verdict."""
    completed = client.upload(name, archived(given_llama(seed=seed)))
    assert client.settled(completed["model_id"], within_s=120)["name"] == name


def test_the_previous_release_works_on_this_schema_and_beside_this_release(place: Place, previous: Path) -> None:
    """As in a rollout and its way back: whichever release has which service, uploads become ready, and none dies."""
    with running(place, ROOT, "gateway") as new, running(place, previous, "gateway") as old:
        client = new_client(place, old["gateway"])
        by_old, by_new = through(client, old["gateway"]), through(client, new["gateway"])
        with running(place, previous, *WORKERS):
            with running(place, ROOT, *WORKERS):  # the schemas are this release's from here on, and so are the streams
                for number in range(2):
                    upload(by_old, f"both-{number}", 10 + number)
                    upload(by_new, f"both-{number}", 20 + number)
            upload(by_old, "old-all", 1)
            upload(by_new, "new-gateway", 2)
        with running(place, ROOT, *WORKERS):
            upload(by_old, "old-gateway", 3)

    assert [letter.subject for letter in place.on_stream("DEAD")] == []


def test_a_clone_without_the_previous_release_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(HistoryMissing, match="git fetch --unshallow"):
        exported("0" * 40, tmp_path)
