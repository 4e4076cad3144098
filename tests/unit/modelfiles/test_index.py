"""What an index must be, and what it must say of the shards beside it."""

from __future__ import annotations

import json

import pytest

from libs.modelfiles import index
from libs.modelfiles.tensors import Tensor
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


def tensor(size: int = 4) -> Tensor:
    return Tensor("U8", (size,), 0, size)


def given_index(weight_map: dict[str, str], total_size: object = None) -> index.Index:
    return index.parse(json.dumps({"metadata": {"total_size": total_size}, "weight_map": weight_map}).encode(), NAME)


ONE, TWO = "m-1.safetensors", "m-2.safetensors"

FILES = {
    "all there": ([ONE, TWO], []),
    "a shard missing": ([ONE], [("index-shard-missing", "error", TWO)]),
    "a shard that is not listed": ([ONE, TWO, "m-3.safetensors"], [("index-shard-unlisted", "warning", "m-3")]),
}


@pytest.mark.parametrize("case", FILES)
def test_compares_with_the_files(case: str) -> None:
    present, expected = FILES[case]
    findings = list(index.check_files(given_index({"a": ONE, "b": TWO}), present))
    assert [(finding.rule, finding.severity) for finding in findings] == [entry[:2] for entry in expected]
    assert all(told in finding.message for finding, (*_, told) in zip(findings, expected, strict=True))


TENSORS = {
    "as it says": ({ONE: ["a"], TWO: ["b"]}, []),
    "in no shard": ({ONE: ["a"], TWO: []}, [("index-tensor-missing", "error", "b of m-2")]),
    "in two shards": ({ONE: ["a", "b"], TWO: ["b"]}, [("index-tensor-duplicate", "error", "b in m-1")]),
    "in the other shard": ({ONE: ["b"], TWO: ["a"]}, [("index-tensor-misplaced", "warning", "a in m-2")]),
    "not named": ({ONE: ["a", "c"], TWO: ["b"]}, [("index-tensor-unnamed", "warning", "c in m-1")]),
    "another shard could not be read": ({ONE: ["a"]}, []),
}


@pytest.mark.parametrize("case", TENSORS)
def test_compares_with_the_tensors(case: str) -> None:
    shards, expected = TENSORS[case]
    held = {shard: {name: tensor() for name in names} for shard, names in shards.items()}
    findings = list(index.check_tensors(given_index({"a": ONE, "b": TWO}), held))
    assert [(finding.rule, finding.severity) for finding in findings] == [entry[:2] for entry in expected]
    assert all(told in finding.message for finding, (*_, told) in zip(findings, expected, strict=True))


@pytest.mark.parametrize(("told", "findings"), [(8, 0), (8.0, 0), (9, 1), (None, 0), ("8", 0), (True, 0)])
def test_compares_the_total_size(told: object, findings: int) -> None:
    held = {ONE: {"a": tensor()}, TWO: {"b": tensor()}}
    assert len(list(index.check_total(given_index({"a": ONE, "b": TWO}, told), held))) == findings


def test_a_long_list_of_tensors_is_one_finding_that_counts_them() -> None:
    names = {f"t{number}": ONE for number in range(1000)}
    [finding] = index.check_tensors(given_index(names), {ONE: {}})
    assert finding.message.startswith("1,000 tensor(s)")
    assert finding.message.endswith("and 995 more.")
