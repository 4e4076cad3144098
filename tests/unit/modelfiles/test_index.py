"""What an index must be."""

from __future__ import annotations

import pytest

from libs.modelfiles import index
from libs.modelfiles.unreadable import Unreadable

NAME = "model.safetensors.index.json"

WRONG = {
    "not JSON": (b"{", "index-json"),
    "not UTF-8": (b"\xff", "index-json"),
    "a list": (b"[]", "index-json"),
    "no weight_map": (b"{}", "index-weight-map"),
    "empty weight_map": (b'{"weight_map": {}}', "index-weight-map"),
    "weight_map is a list": (b'{"weight_map": []}', "index-weight-map"),
    "a folder in a name": (b'{"weight_map": {"a": "x/m.safetensors"}}', "index-shard-name"),
    "out of the folder": (b'{"weight_map": {"a": ".."}}', "index-shard-name"),
    "an absolute path": (b'{"weight_map": {"a": "/etc/passwd"}}', "index-shard-name"),
    "a backslash": (b'{"weight_map": {"a": "x\\\\m"}}', "index-shard-name"),
    "an empty name": (b'{"weight_map": {"a": ""}}', "index-shard-name"),
    "a number for a name": (b'{"weight_map": {"a": 1}}', "index-shard-name"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refuses_an_index_with(case: str) -> None:
    raw, rule = WRONG[case]
    with pytest.raises(Unreadable) as caught:
        index.parse(raw, NAME)
    assert caught.value.rule == rule
