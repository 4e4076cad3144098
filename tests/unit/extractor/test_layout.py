"""Folders around a model are found."""

from __future__ import annotations

import pytest

from services.extractor.layout import common_folder


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        (["config.json", "a/b"], None),
        (["m/config.json", "m/a/b"], "m"),
        (["snapshots/4f2a/config.json", "snapshots/4f2a/x"], "snapshots/4f2a"),
        (["a/x", "ab/x"], None),
        (["only/one.bin"], "only"),
        (["a"], None),
    ],
)
def test_common_folder(paths: list[str], folder: str | None) -> None:
    assert common_folder(paths) == folder
