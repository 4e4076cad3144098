"""Where a model's files are inside an archive."""

from __future__ import annotations

from collections.abc import Sequence


def common_folder(paths: Sequence[str]) -> str | None:
    """The innermost folder that holds every file, without its slash; None if that is the archive's root.

    A model's files have to be at the root, so whatever folders all of them share can only be in the way:
    `snapshots/4f2a/config.json` is meant as `config.json`.
    """
    folders = [path.split("/")[:-1] for path in paths]
    shared: list[str] = []
    for names in zip(*folders, strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return "/".join(shared) or None
