"""Guesses what a model is for, from its names, its chat template and its languages."""

from __future__ import annotations

import re
from collections.abc import Iterable

from libs.contracts import WorkloadType
from libs.modelfiles.vllm import Kind

_CODE = re.compile(
    r"star.?coder|code|deepseek.?coder|santa.?coder|codestral|devstral|incoder|gptbigcode", re.IGNORECASE
)
_NOT_CODE = re.compile(r"encode|decode|unicode|barcode|qrcode", re.IGNORECASE)
_REASONING = re.compile(r"\br1\b|deepseek-?r1|qwq|reason|thinking|magistral|gpt.?oss", re.IGNORECASE)
_MULTILINGUAL = re.compile(
    r"nllb|xlm|m2m.?100|mt5|mbart|madlad|bloom|aya\b|multilingual|tower.?instruct", re.IGNORECASE
)
_MANY_LANGUAGES = 20  # chat models name a dozen


def guess(
    *,
    kind: Kind | None,
    sentence_transformer: bool,
    names: Iterable[str],
    chat_template: str,
    languages: int,
) -> WorkloadType:
    """Return the workload type.

    `names`: architecture, model type, name or path, title, tags; `languages`: how many the model card lists.
    """
    if sentence_transformer or kind in ("embed", "reward", "classify"):
        return "embedding"
    given = [name for name in names if name]
    if any(_CODE.search(_NOT_CODE.sub("", name)) for name in given):
        return "code"
    if "<think>" in chat_template or "enable_thinking" in chat_template or any(map(_REASONING.search, given)):
        return "reasoning"
    if languages >= _MANY_LANGUAGES or any(map(_MULTILINGUAL.search, given)):
        return "multilingual"
    return "chat"
