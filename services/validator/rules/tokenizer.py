"""Is there something to turn text into tokens?"""

from __future__ import annotations

from collections.abc import Iterator

from libs.contracts import Finding
from services.validator.inspection import Inspection

MISSING = "tokenizer-missing"

# What the tokenizers of Transformers and mistral-common load from
_VOCABULARIES = frozenset(
    {
        "tokenizer.json", "tokenizer.model", "tokenizer.model.v3", "tekken.json", "spiece.model", "vocab.json",
        "vocab.txt", "sentencepiece.bpe.model", "tiktoken.model", "tokenizer.tiktoken", "source.spm",
    }
)  # fmt: skip


def check(found: Inspection) -> Iterator[Finding]:
    """A warning that makes the model undeployable: without a vocabulary vLLM does not start unless it is told to do
    without (`--skip-tokenizer-init`). GGUF carries its own."""
    if found.selection.format == "gguf" or any(_is_vocabulary(path) for path in found.sizes):
        return
    yield Finding(
        rule=MISSING,
        severity="warning",
        message="There is no tokenizer: none of tokenizer.json, tokenizer.model, vocab.json, vocab.txt, tekken.json.",
        fix="Add the tokenizer's files; tokenizer.save_pretrained writes them.",
    )


def _is_vocabulary(path: str) -> bool:
    return path in _VOCABULARIES or ("/" not in path and path.endswith((".tiktoken", ".model")))
