"""`python -m deploy.docs`: write every generated page; with --check, only say which ones are out of date."""

from __future__ import annotations

import sys

from deploy.docs.pages import PAGES, outdated


def main(arguments: list[str]) -> int:
    """Write the pages whose content changes, or list them. Returns 1 if --check finds one."""
    changed = outdated()
    if "--check" in arguments:
        for path in changed:
            print(f"{path.name} is out of date: run `make docs`", file=sys.stderr)
        return 1 if changed else 0
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PAGES[path](), encoding="utf-8")
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
