"""Are the weights there, readable, and each tensor once?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from libs.contracts import Finding, findings
from libs.modelfiles import required
from services.validator.model import Model


def check_required_files(model: Model) -> Iterable[Finding]:
    """A model has a configuration and weights."""
    return required.missing_files(model.sizes)


def check_files_are_readable(model: Model) -> Iterator[Finding]:
    """A file that does not follow its format is an error if vLLM or its tokenizers would open it."""
    for path, error in sorted(model.unreadable.items()):
        opened = path in model.loaded or ("/" not in path and path.endswith((".json", ".model", ".tiktoken", ".txt")))
        yield error.finding(path, "error" if opened else "warning")


def check_tensors_occur_once(model: Model) -> Iterator[Finding]:
    """Without an index vLLM loads every file, and of two tensors of one name the later one wins."""
    if model.index is not None:
        return
    names = Counter(name for path in model.loaded if path in model.headers for name in model.headers[path].tensors)
    repeated = [name for name, times in names.items() if times > 1]
    if repeated:
        message = f"{len(repeated):,} tensor(s) are in more than one file, {repeated[0]!r} for example."
        fix = "Leave out the files that are not part of the model, or add an index that names those that are."
        yield findings.warning("weights-repeated", message, fix)
