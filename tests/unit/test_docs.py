"""The pages that are generated are committed as they would be generated now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.docs.pages import DOCS, PAGES

ROOT = DOCS.parent
PLACEHOLDERS = re.compile(r"[A-Z]{2}|/bounds")  # NAME, 00NN; the example of docs/recipes/resource.md
GENERATED = [path for path in PAGES if path.suffix == ".md"]
WRITTEN = sorted(path for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")] if path not in PAGES)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_the_committed_page_is_what_is_generated(page: Path) -> None:
    assert page.exists(), f"{_name(page)} is missing: run `make docs`"
    assert page.read_text(encoding="utf-8") == PAGES[page](), f"{_name(page)} is out of date: run `make docs`"


@pytest.mark.parametrize("page", [*WRITTEN, *GENERATED], ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}, which is not there"


@pytest.mark.parametrize("page", WRITTEN, ids=_name)
def test_paths_and_commands_that_are_named_are_there(page: Path) -> None:
    """In `code`: files of this repository, and targets of make."""
    text = page.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text()
    for path in re.findall(r"`((?:libs|services|deploy|tests|docs)/[\w./-]+)`", text):
        if not PLACEHOLDERS.search(path):
            assert (ROOT / path).exists(), f"{page.relative_to(ROOT)} names {path}, which is not there"
    for target in re.findall(r"(?:`|\$ )make ([a-z-]+)", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.relative_to(ROOT)}: no `make {target}`"
