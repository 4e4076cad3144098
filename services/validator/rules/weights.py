"""Are the weights there, whole, and what their index says?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from libs.contracts import Finding
from libs.modelfiles import index, required, weights
from libs.modelfiles.index import Index
from libs.modelfiles.unreadable import Unreadable
from services.validator.inspection import Inspection


def read_index(found: Inspection) -> Index | None:
    """The index that goes with the weights, if there is one.

    Raises: Unreadable, naming what is wrong with it.
    """
    name = found.selection.index
    if name is None or name not in found.documents:
        return None
    raw = found.documents[name]
    if len(raw) < found.sizes[name]:
        raise Unreadable(
            "index-too-large",
            f"The index has {found.sizes[name]:,} bytes; {index.MAX_INDEX_BYTES:,} are read.",
            "Write the model in fewer, larger tensors.",
        )
    return index.parse(raw, name)


def loaded_files(found: Inspection, listed: Index | None) -> list[str]:
    """The files of weights that vLLM would open: all that match, or of safetensors those in the index."""
    if listed is None or found.selection.format != "safetensors":
        return found.selection.files
    return [path for path in found.selection.files if path in set(listed.weight_map.values())]


def check(found: Inspection, listed: Index | None, loaded: Sequence[str]) -> Iterator[Finding]:
    """Missing files and shards, unreadable headers, and what the index gets wrong."""
    yield from required.missing_files(found.sizes)
    for path, error in sorted(found.unreadable.items()):
        yield error.finding(path, "error" if path in loaded or _is_needed(path) else "warning")
    if listed is not None:
        yield from index.check_files(listed, found.selection.files)
        shards = {path: found.headers[path].tensors for path in loaded if path in found.headers}
        if found.selection.format == "safetensors":
            yield from index.check_tensors(listed, shards)
            yield from index.check_total(listed, shards)
    else:
        yield from weights.missing_shards(loaded)
        yield from _repeated(found, loaded)


def _is_needed(path: str) -> bool:
    """Whether vLLM or its tokenizers would open a file beside the weights."""
    return "/" not in path and path.endswith((".json", ".model", ".tiktoken", ".txt"))


def _repeated(found: Inspection, loaded: Sequence[str]) -> Iterator[Finding]:
    """Without an index vLLM loads every file: of two tensors of one name the later one wins."""
    names = Counter(name for path in loaded if path in found.headers for name in found.headers[path].tensors)
    repeated = [name for name, times in names.items() if times > 1]
    if repeated:
        yield Finding(
            rule="weights-repeated",
            severity="warning",
            message=f"{len(repeated):,} tensor(s) are in more than one file, {repeated[0]!r} for example.",
            fix="Leave out the files that are not part of the model, or add an index that names those that are.",
        )
