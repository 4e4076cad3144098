"""The README points at what is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from libs.cli.main import slipway

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
OPERATING = (ROOT / "docs" / "operating.md").read_text()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\$ make ([a-z-]+)", README))))
def test_commands_are_in_the_makefile(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", sorted(set(re.findall(r"^\$ slipway ([^#\n]+)", README + OPERATING, re.MULTILINE))))
def test_commands_of_slipway_are_there_with_their_options(line: str) -> None:
    """A command of a console block, without its comment, is parsed as the command itself would."""
    command: click.Command = slipway
    words = shlex.split(line)
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"there is no `slipway {line}`"
        command, words = found, words[1:]
    command.make_context("slipway", words)


def test_the_curl_script_shadows_no_command() -> None:
    """Who pastes it goes on to use `slipway` in the same shell."""
    functions = re.findall(r"^(\w+)\(\)", README, re.MULTILINE)

    assert functions
    assert not {"slipway", "xeroctl"} & set(functions)


def test_every_recipe_is_in_contributing() -> None:
    listed = set(re.findall(r"\]\(docs/recipes/([\w-]+\.md)\)", (ROOT / "CONTRIBUTING.md").read_text()))

    assert listed == {path.name for path in (ROOT / "docs" / "recipes").glob("*.md")}


def test_every_decision_is_in_its_list() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (folder / "README.md").read_text()))

    assert listed == {path.name for path in folder.glob("0*.md")}
