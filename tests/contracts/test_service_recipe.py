"""docs/recipes/service.md works: followed in a copy of the repository, the service runs; half followed, tests tell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.contracts.recipe_steps import Step
from tests.contracts.service_recipe import ELSEWHERE, OWN, REMINDERS, TESTS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/recipes/service.md"
FOLDERS = ("libs", "services", "deploy", "slipway", "tests", "docs")
MOST_FILES = 4
PYTEST = (sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider")
SHAPE = ("tests/contracts/test_shape.py",)
ALL = (*SHAPE, "tests/contracts/test_services.py", "tests/unit/test_docs.py", "tests/integration/counter")
IMPORTS_ANOTHER = Step("services/counter/store.py", "", "\nfrom services.validator import store as _validators\n")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The repository, with the folder of the new service and nothing else of it."""
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, tmp_path)
    _write(tmp_path, OWN)
    return tmp_path


def test_a_service_is_added_by_the_recipe(copy: Path) -> None:
    """It starts, counts and stops on real servers; its pages are generated; it may import no other service."""
    _write(copy, TESTS)
    for step in ELSEWHERE:
        step.apply(copy)
    _run(copy, [sys.executable, "-m", "deploy.docs"], check=True)
    output = _run(copy, [*PYTEST, *ALL])
    assert re.search(r"^\d+ passed in", output, re.MULTILINE), output
    assert "forget_after_s".upper() in (copy / "docs/settings.md").read_text().partition("## counter")[2]

    lint_imports = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    assert "no service imports another KEPT" in _run(copy, lint_imports)
    IMPORTS_ANOTHER.apply(copy)
    assert "services.counter is not allowed to import services.validator" in _run(copy, lint_imports)


def test_what_is_forgotten_is_named(copy: Path) -> None:
    output = _run(copy, [*PYTEST, *SHAPE])
    for reminder in REMINDERS:
        assert reminder in output, f"no test says {reminder!r}:\n{output}"


def test_the_recipe_changes_at_most_four_files_elsewhere_and_names_each() -> None:
    files = {step.path for step in ELSEWHERE}
    assert len(files) <= MOST_FILES
    page = PAGE.read_text(encoding="utf-8")
    for path in (*files, *(Path(own).name for own in OWN)):
        name = "0001_NAME.sql" if path == "0001_counter.sql" else path
        assert name in page, f"docs/recipes/service.md does not name {name}"


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _run(root: Path, command: Sequence[str], *, check: bool = False) -> str:
    """What the command prints, with long lines, in which pytest cuts off no message."""
    environment = {**os.environ, "COLUMNS": "400", "PYTHONPATH": str(root)}
    ran = subprocess.run(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=check,
    )
    return ran.stdout
