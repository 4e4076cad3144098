"""docs/recipes/resource.md, followed to the letter in a copy of the repository."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "docs" / "recipes" / "resource.md").read_text()
RESOURCES = "services/gateway/resources.py"
SHAPE, DOCS = "tests/unit/gateway/test_resources.py", "tests/unit/test_docs.py"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the repository, with the files of the recipe's steps 1 to 3."""
    root = tmp_path / "copy"
    for name in ("libs", "services", "deploy", "docs", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*ROOT.glob("*.md"), *(ROOT / name for name in ("pyproject.toml", "LICENSE", "Makefile"))):
        shutil.copy(path, root)
    for path, content in files_of_the_recipe().items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(content)
    return root


def files_of_the_recipe() -> dict[str, str]:
    """The content of each file that the recipe shows, by the path in the sentence before."""
    shown: dict[str, str] = {}
    for sentence, code in re.findall(r"^\d\. (.*?)\n   ```python\n(.*?)   ```$", RECIPE, re.MULTILINE | re.DOTALL):
        path = re.findall(r"`(services/gateway/limits/\w+\.py)`", sentence)[0]
        shown[path] = "".join(line.removeprefix("   ") for line in code.splitlines(keepends=True))
    return shown


def run(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS…` in the copy."""
    environment = {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )


def run_tests(copy: Path, *paths: str) -> subprocess.CompletedProcess[str]:
    """Run tests in the copy."""
    return run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths)


def list_resource(copy: Path) -> None:
    """Step 4 of the recipe."""
    file = copy / RESOURCES
    file.write_text(file.read_text().replace('"admin")', '"admin", "limits")'))


def test_the_recipe_touches_four_files_at_most() -> None:
    assert len({*files_of_the_recipe(), RESOURCES}) == 4


@pytest.mark.slow
def test_the_recipe_makes_a_resource_and_what_is_forgotten_fails(copy: Path) -> None:
    """Each test that fails names the file or the command."""
    not_listed = run_tests(copy, SHAPE)
    list_resource(copy)
    not_documented = run_tests(copy, DOCS, "-k", "openapi")
    written = run(copy, "-m", "deploy.docs")
    complete = run_tests(copy, SHAPE, DOCS)

    assert not_listed.returncode == 1
    assert RESOURCES in not_listed.stdout
    assert not_documented.returncode == 1
    assert "openapi.json is out of date: run `make docs`" in not_documented.stdout
    assert "openapi.json" in written.stdout, written.stderr
    assert complete.returncode == 0, complete.stdout
    assert '"/limits"' in (copy / "docs" / "openapi.json").read_text()
