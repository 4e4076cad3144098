"""What the files of a model must hold, and what is said where it is missing."""

from __future__ import annotations

import pytest

from libs.modelfiles.required import missing_files

COMPLETE = {
    "config and safetensors": ["config.json", "model.safetensors"],
    "config and bin": ["config.json", "pytorch_model.bin"],
    "config and exl2": ["config.json", "output.exl2"],
    "Mistral's own": ["params.json", "consolidated.safetensors"],
    "gguf alone": ["m.gguf"],
}


@pytest.mark.parametrize("case", COMPLETE)
def test_nothing_is_missing_of(case: str) -> None:
    assert missing_files(COMPLETE[case]) == []


INCOMPLETE = {
    "nothing at all": ([], ["config-missing", "weights-missing"], ""),
    "no config": (["model.safetensors"], ["config-missing"], "config.json is missing"),
    "params.json is for consolidated weights": (
        ["params.json", "model.safetensors"],
        ["config-missing"],
        "config.json",
    ),
    "no weights": (["config.json", "tokenizer.json"], ["weights-missing"], "no model weights"),
    "only what training left": (
        ["config.json", "optimizer.bin"],
        ["weights-missing"],
        "optimizer.bin belongs to training",
    ),
    "one folder too deep": (
        ["llama/config.json", "llama/model.safetensors"],
        ["config-missing", "weights-missing"],
        "only at llama/config.json",
    ),
    "weights in a folder": (
        ["config.json", "original/model.safetensors"],
        ["weights-missing"],
        "original/model.safetensors",
    ),
}


@pytest.mark.parametrize("case", INCOMPLETE)
def test_says_what_is_missing_of(case: str) -> None:
    paths, rules, told = INCOMPLETE[case]
    findings = missing_files(paths)
    assert [finding.rule for finding in findings] == rules
    assert all(finding.severity == "error" and finding.fix for finding in findings)
    assert told in " ".join(finding.message for finding in findings)
