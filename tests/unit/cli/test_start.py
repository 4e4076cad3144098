"""What shells ask again and again, completion and --help, waits for no HTTP client and for no embedded stack."""

from __future__ import annotations

import subprocess
import sys

import pytest

ASKED = """
import sys
from click.testing import CliRunner
from libs.cli.main import slipway

assert CliRunner().invoke(slipway, sys.argv[1:]).exit_code == 0
print({"aiohttp", "asyncpg", "minio", "nats", "psutil"} & set(sys.modules))
"""


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["models", "delete", "--help"], ["up", "--help"]])
def test_help_imports_no_client(arguments: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", ASKED, *arguments], capture_output=True, text=True, check=False, timeout=60
    )

    assert ran.stdout == "set()\n", ran.stderr
