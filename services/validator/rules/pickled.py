"""Would unpickling any file run code, and would torch load those that vLLM opens?"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from libs.contracts import Finding, Severity
from libs.modelfiles.torchfile import PICKLE_SUFFIXES, PickleScan
from services.validator.inspection import Inspection

_SAFETENSORS = "Save the weights as safetensors, which cannot hold code."
_NAMED = 5


def check(found: Inspection, loaded: Collection[str]) -> Iterator[Finding]:
    """What the scans found: an error where it runs code or where vLLM could not load it, else a warning."""
    for path, scan in sorted(found.pickles.items()):
        if scan.dangerous:
            what = f"Unpickling this file would run code: it imports {_some(scan.dangerous)}."
            yield _finding(path, "pickle-dangerous", "error", what, f"Do not load it anywhere. {_SAFETENSORS}")
        if path in loaded and found.selection.format == "pytorch":
            yield from _check_loaded(path, scan)
        elif scan.is_pickle or path.endswith(PICKLE_SUFFIXES):
            yield from _check_ignored(path, scan)


def _check_loaded(path: str, scan: PickleScan) -> Iterator[Finding]:
    if scan.unknown:
        what = f"The pickle imports what torch.load(weights_only=True) does not allow: {_some(scan.unknown)}."
        yield _finding(path, "pickle-unknown-import", "error", what, f"Save the state dict alone. {_SAFETENSORS}")
    if scan.unfinished:
        what = f"The file could not be scanned for code to its end: {'; '.join(scan.unfinished[:_NAMED])}."
        yield _finding(path, "pickle-unfinished", "error", what, f"Save it again with torch.save. {_SAFETENSORS}")
    if scan.refused:
        what = f"torch.load(weights_only=True), as vLLM calls it, would fail: {'; '.join(scan.refused[:_NAMED])}."
        yield _finding(path, "pytorch-unloadable", "error", what, f"Save it again with torch.save. {_SAFETENSORS}")


def _check_ignored(path: str, scan: PickleScan) -> Iterator[Finding]:
    if scan.unknown:
        what = f"vLLM ignores this pickle; unpickling it elsewhere would import {_some(scan.unknown)}."
        yield _finding(path, "pickle-unknown-import", "warning", what, "Leave it out if it is not needed.")
    if scan.unfinished:
        what = f"vLLM ignores this file; it could not be scanned for code: {'; '.join(scan.unfinished[:_NAMED])}."
        yield _finding(path, "pickle-unfinished", "warning", what, "Leave it out if it is not needed.")
    if scan.is_pickle and not path.endswith(PICKLE_SUFFIXES):
        what = "The file is a pickle under another name."
        yield _finding(path, "pickle-disguised", "warning", what, "Leave it out, or name it for what it is.")


def _some(names: Collection[str]) -> str:
    listed = ", ".join(sorted(names)[:_NAMED])
    return f"{listed} and {len(names) - _NAMED:,} more" if len(names) > _NAMED else listed


def _finding(file: str, rule: str, severity: Severity, message: str, fix: str) -> Finding:
    return Finding(rule=rule, severity=severity, message=message, fix=fix, file=file)
