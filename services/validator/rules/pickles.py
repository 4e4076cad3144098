"""Would unpickling any file run code, and would torch load those that vLLM opens?"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from libs.contracts import Finding, findings
from libs.modelfiles.torchfile import PICKLE_SUFFIXES, PickleScan
from services.validator.model import Model

_SAFETENSORS = "Save the weights as safetensors, which cannot hold code."
_NAMED = 5


def check_pickles(model: Model) -> Iterator[Finding]:
    """An error where a pickle runs code or vLLM could not load it, else a warning."""
    for path, scan in sorted(model.pickles.items()):
        if scan.dangerous:
            message = f"Unpickling this file would run code: it imports {_some(scan.dangerous)}."
            fix = f"Do not load it anywhere. {_SAFETENSORS}"
            yield findings.error("pickle-dangerous", message, fix, file=path)
        if path in model.loaded and model.selection.format == "pytorch":
            yield from _check_loaded(path, scan)
        elif scan.is_pickle or path.endswith(PICKLE_SUFFIXES):
            yield from _check_ignored(path, scan)


def _check_loaded(path: str, scan: PickleScan) -> Iterator[Finding]:
    if scan.unknown:
        message = f"The pickle imports what torch.load(weights_only=True) does not allow: {_some(scan.unknown)}."
        fix = f"Save the state dict alone. {_SAFETENSORS}"
        yield findings.error("pickle-unknown-import", message, fix, file=path)
    if scan.unfinished:
        message = f"The file could not be scanned for code to its end: {'; '.join(scan.unfinished[:_NAMED])}."
        fix = f"Save it again with torch.save. {_SAFETENSORS}"
        yield findings.error("pickle-unfinished", message, fix, file=path)
    if scan.refused:
        message = f"torch.load(weights_only=True), as vLLM calls it, would fail: {'; '.join(scan.refused[:_NAMED])}."
        fix = f"Save it again with torch.save. {_SAFETENSORS}"
        yield findings.error("pytorch-unloadable", message, fix, file=path)


def _check_ignored(path: str, scan: PickleScan) -> Iterator[Finding]:
    if scan.unknown:
        message = f"vLLM ignores this pickle; unpickling it elsewhere would import {_some(scan.unknown)}."
        yield findings.warning("pickle-unknown-import", message, "Leave it out if it is not needed.", file=path)
    if scan.unfinished:
        message = f"vLLM ignores this file; it could not be scanned for code: {'; '.join(scan.unfinished[:_NAMED])}."
        yield findings.warning("pickle-unfinished", message, "Leave it out if it is not needed.", file=path)
    if scan.is_pickle and not path.endswith(PICKLE_SUFFIXES):
        message = "The file is a pickle under another name."
        yield findings.warning("pickle-disguised", message, "Leave it out, or name it for what it is.", file=path)


def _some(names: Collection[str]) -> str:
    listed = ", ".join(sorted(names)[:_NAMED])
    return f"{listed} and {len(names) - _NAMED:,} more" if len(names) > _NAMED else listed
