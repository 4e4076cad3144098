"""The recipes work: followed in a copy of the repository, its tests pass; half followed, they name what is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.contracts.recipe_steps import RECIPES, Recipe, Step

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FOLDERS = ("libs", "services", "deploy", "slipway", "tests", "docs")
MOST_FILES = 4
PYTEST = (sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider")
CHECKS = (
    "tests/contracts/test_events.py",
    "tests/contracts/test_findings.py",
    "tests/contracts/test_formats.py",
    "tests/contracts/test_metadata.py",
    "tests/contracts/test_services.py",
    "tests/unit/gateway/test_resources.py",
    "tests/unit/test_docs.py::test_the_committed_page_is_what_is_generated",
    "tests/unit/validator/test_rules.py::test_every_rule_of_a_module_is_applied",
)
# What the copy in which the recipes were followed can do beyond that
ABILITIES = (
    "tests/unit/archives/test_hostile.py::test_refused_with_rule_message_and_advice[xz-damaged]",
    "tests/unit/archives/test_hostile.py::test_refused_with_rule_message_and_advice[xz-fragmented]",
    "tests/unit/archives/test_hostile.py::test_refused_with_rule_message_and_advice[xz-garbage-after-end]",
    "tests/unit/archives/test_hostile.py::test_refused_with_rule_message_and_advice[xz-truncated]",
    "tests/unit/archives/test_hostile.py::test_refused_with_rule_message_and_advice[not-xz]",
    "tests/unit/archives/test_limits.py::test_declared_checksum_of_the_archive_is_verified[tar.xz]",
    "tests/unit/validator/test_metadata.py::test_tied_embeddings",
    "tests/unit/validator/test_rules.py::test_finds[a key]",
)

by_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: Path(recipe.page).stem)


class Outputs(NamedTuple):
    """What the tests print in two copies of the repository."""

    followed: str  # all recipes
    begun: str  # of each recipe only the file that comes first


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """Both copies are tested at the same time."""
    followed = _copy(tmp_path_factory.mktemp("followed"), [step for recipe in RECIPES for step in recipe.steps])
    begun = _copy(tmp_path_factory.mktemp("begun"), [step for recipe in RECIPES for step in _first(recipe)])
    with _started(begun, [*PYTEST, *CHECKS]) as of_begun:
        subprocess.run([sys.executable, "-m", "deploy.docs"], cwd=followed, env=_environment(), check=True)
        with _started(followed, [*PYTEST, *CHECKS, *ABILITIES]) as of_followed:
            return Outputs(of_followed.communicate(timeout=120)[0], of_begun.communicate(timeout=120)[0])


def test_the_tests_pass_where_the_recipes_were_followed(outputs: Outputs) -> None:
    assert re.search(r"^\d+ passed in", outputs.followed, re.MULTILINE), outputs.followed


@by_recipe
def test_what_is_forgotten_is_named(recipe: Recipe, outputs: Outputs) -> None:
    for reminder in recipe.reminders:
        assert reminder in outputs.begun, f"{recipe.page}: no test says {reminder!r}:\n{outputs.begun}"


@by_recipe
def test_a_recipe_changes_at_most_four_files_and_names_each(recipe: Recipe) -> None:
    assert len(recipe.files) <= MOST_FILES, recipe.files
    page = (ROOT / recipe.page).read_text()
    for path in map(Path, recipe.files):
        names = (str(path), str(path.parent), path.name)
        assert any(f"`{name}`" in page for name in names), f"{recipe.page} does not name {path}"


def _first(recipe: Recipe) -> list[Step]:
    """The steps in the file that comes first."""
    return [step for step in recipe.steps if step.path == recipe.steps[0].path]


def _copy(root: Path, steps: Sequence[Step]) -> Path:
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, root / folder)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, root)
    for step in steps:
        step.apply(root)
    return root


def _started(root: Path, command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=root, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _environment() -> dict[str, str]:
    """With long lines, in which pytest cuts off no message."""
    return {**os.environ, "COLUMNS": "400"}
