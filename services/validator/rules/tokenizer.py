"""Is there something to turn text into tokens?"""

from __future__ import annotations

from collections.abc import Iterator

from libs.contracts import Finding, findings
from services.validator.model import Model

MISSING = "tokenizer-missing"

# What the tokenizers of Transformers and mistral-common load from
_VOCABULARIES = frozenset(
    {
        "tokenizer.json", "tokenizer.model", "tokenizer.model.v3", "tekken.json", "spiece.model", "vocab.json",
        "vocab.txt", "sentencepiece.bpe.model", "tiktoken.model", "tokenizer.tiktoken", "source.spm",
    }
)  # fmt: skip


def check_vocabulary(model: Model) -> Iterator[Finding]:
    """Without a vocabulary vLLM does not start, unless it is started with `--skip-tokenizer-init`.

    A warning that makes the model undeployable. GGUF files carry their own vocabulary.
    """
    if model.selection.format == "gguf" or any(_is_vocabulary(path) for path in model.sizes):
        return
    message = "There is no tokenizer: none of tokenizer.json, tokenizer.model, vocab.json, vocab.txt, tekken.json."
    yield findings.warning(MISSING, message, "Add the tokenizer's files; tokenizer.save_pretrained writes them.")


def _is_vocabulary(path: str) -> bool:
    return path in _VOCABULARIES or ("/" not in path and path.endswith((".tiktoken", ".model")))
