"""Which files vLLM would take for weights."""

from __future__ import annotations

import pytest

from libs.modelfiles.weights import Selection, select

SELECTED = {
    "safetensors before bin": (
        ["config.json", "model.safetensors", "pytorch_model.bin"],
        Selection("safetensors", ["model.safetensors"]),
    ),
    "bin before pt": (["a.bin", "b.pt"], Selection("pytorch", ["a.bin"])),
    "pt alone": (["b.pt"], Selection("pytorch", ["b.pt"])),
    "what training leaves is none": (
        ["model.bin", "training_args.bin", "optimizer.bin"],
        Selection("pytorch", ["model.bin"]),
    ),
    "by the end of the name": (["model.bin", "my_training_args.bin"], Selection("pytorch", ["model.bin"])),
    "bin of training hides pt": (["training_args.bin", "model.pt"], Selection()),
    "bin of training does not hide gguf": (["training_args.bin", "m.gguf"], Selection("gguf", ["m.gguf"])),
    "Mistral's own first": (
        ["consolidated.safetensors", "model.safetensors", "params.json", "config.json"],
        Selection("safetensors", ["consolidated.safetensors"], None, "params.json"),
    ),
    "Mistral's weights with config.json": (
        ["consolidated-00001-of-00002.safetensors", "consolidated.safetensors.index.json", "config.json"],
        Selection("safetensors", ["consolidated-00001-of-00002.safetensors"], "consolidated.safetensors.index.json"),
    ),
    "with its index": (
        ["model.safetensors", "model.safetensors.index.json"],
        Selection("safetensors", ["model.safetensors"], "model.safetensors.index.json"),
    ),
    "the index of another format": (["a.bin", "model.safetensors.index.json"], Selection("pytorch", ["a.bin"])),
    "folders are not looked into": (["original/model.safetensors"], Selection()),
    "hidden files are not matched": ([".model.safetensors"], Selection()),
    "exl2": (["output.exl2"], Selection("exl2", ["output.exl2"])),
    "nothing": ([], Selection()),
}


@pytest.mark.parametrize("case", SELECTED)
def test_selects_what_vllm_would_load(case: str) -> None:
    paths, selection = SELECTED[case]
    assert select(paths) == selection
