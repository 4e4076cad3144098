"""Where a model's files are inside an archive."""

from __future__ import annotations

from collections.abc import Sequence


def common_folder(paths: Sequence[str]) -> str | None:
    """The innermost folder that has every file, without a slash at its end; None if that is the archive's root.

    A model's files have to be at the root, so folders that all files share are removed: `snapshots/4f2a/config.json`
    becomes `config.json`.
    """
    folders = [path.split("/")[:-1] for path in paths]
    shared: list[str] = []
    for names in zip(*folders, strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return "/".join(shared) or None
