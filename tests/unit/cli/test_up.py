"""`slipway up` is looked up only when it is asked for: everything else works without the `local` extra."""

from __future__ import annotations

import sys

import click
import pytest
from click.testing import CliRunner

from libs.cli.main import slipway


def test_up_is_the_embedded_stack() -> None:
    ran = CliRunner().invoke(slipway, ["up", "--help"])

    assert ran.exit_code == 0
    assert "--data-dir" in ran.output


@pytest.mark.parametrize("module", ["deploy.local.command", "deploy.local.foreground"])
def test_without_the_extra_it_says_which_one(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if an import in it had failed

    listed = CliRunner().invoke(slipway, ["--help"])
    ran = CliRunner().invoke(slipway, ["up", "--data-dir", "x"])

    assert "up " in listed.output
    assert ran.exit_code == click.ClickException.exit_code
    assert "pip install 'slipway[local]'" in ran.output
