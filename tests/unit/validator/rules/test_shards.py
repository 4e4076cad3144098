"""What an index, or the numbers in names, must say of the shards beside them."""

from __future__ import annotations

import json

import pytest

from libs.modelfiles import index
from libs.modelfiles.tensors import Tensor
from services.validator.rules import shards

NAME = "model.safetensors.index.json"


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
    findings = list(shards.compare_files(given_index({"a": ONE, "b": TWO}), present))
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
    names_in, expected = TENSORS[case]
    held = {shard: {name: tensor() for name in names} for shard, names in names_in.items()}
    findings = list(shards.compare_tensors(given_index({"a": ONE, "b": TWO}), held))
    assert [(finding.rule, finding.severity) for finding in findings] == [entry[:2] for entry in expected]
    assert all(told in finding.message for finding, (*_, told) in zip(findings, expected, strict=True))


@pytest.mark.parametrize(("told", "findings"), [(8, 0), (8.0, 0), (9, 1), (None, 0), ("8", 0), (True, 0)])
def test_compares_the_total_size(told: object, findings: int) -> None:
    held = {ONE: {"a": tensor()}, TWO: {"b": tensor()}}
    assert len(list(shards.compare_total_size(given_index({"a": ONE, "b": TWO}, told), held))) == findings


def test_a_long_list_of_tensors_is_one_finding_that_counts_them() -> None:
    names = {f"t{number}": ONE for number in range(1000)}
    [finding] = shards.compare_tensors(given_index(names), {ONE: {}})
    assert finding.message.startswith("1,000 tensor(s)")
    assert finding.message.endswith("and 995 more.")


NUMBERED = {
    "whole": (["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"], []),
    "counted from nothing": (["m-00000-of-00002.bin", "m-00001-of-00002.bin"], []),
    "one missing": (["m-00001-of-00002.safetensors"], ["1 of 2 shards are missing: m-00002-of-00002.safetensors."]),
    "two sets": (
        ["a-1-of-2.bin", "b-2-of-2.bin"],
        ["1 of 2 shards are missing: a-2-of-2.bin.", "1 of 2 shards are missing: b-1-of-2.bin."],
    ),
    "many missing": (
        ["m-1-of-9.pt"],
        ["8 of 9 shards are missing: m-2-of-9.pt, m-3-of-9.pt, m-4-of-9.pt, m-5-of-9.pt, m-6-of-9.pt and 3 more."],
    ),
    "not numbered": (["model.safetensors", "other.safetensors"], []),
    "an absurd count": (["m-1-of-99999999999.bin"], []),
}


@pytest.mark.parametrize("case", NUMBERED)
def test_numbered_shards_must_be_whole(case: str) -> None:
    paths, messages = NUMBERED[case]
    assert [finding.message for finding in shards.compare_numbers(paths)] == messages
