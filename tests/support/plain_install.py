"""The `slipway` command as it is after `pip install slipway` without extras: only the client's packages are there."""

from __future__ import annotations

import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

COMMAND = """
from libs.cli.main import main
sys.argv[0] = "slipway"
main()
"""

# Run with the import names of the packages that are not to be there, a program, and its arguments.
WITHOUT = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        # as if these packages were not installed
        return None if name.partition(".")[0] in MISSING else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

MISSING = set(sys.argv[1].split(","))
sys.meta_path = [Without(finder) for finder in sys.meta_path if hasattr(finder, "find_spec")]
program = sys.argv[2]
sys.argv[:3] = ["-c"]
exec(program)
"""


def plain_install() -> set[str]:
    """The packages of the plain install: those of `dependencies`, and what these need in turn."""
    found: set[str] = set()
    waiting = [Requirement(each) for each in PROJECT["dependencies"]]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += [Requirement(each) for each in metadata.requires(name) or ()]
    return found


def modules_of_other_packages() -> set[str]:
    """What can be imported here and not after a plain install."""
    there = plain_install() | {"slipway", "pip", "setuptools"}
    return {
        module
        for module, packages in metadata.packages_distributions().items()
        if module.isidentifier() and not {canonicalize_name(package) for package in packages} & there
    }


def program_without_other_packages(program: str, *arguments: str) -> list[str]:
    """What to run for the Python `program` where only the packages of the plain install can be imported."""
    return [sys.executable, "-c", WITHOUT, ",".join(modules_of_other_packages()), program, *arguments]


def command_without_other_packages(*arguments: str) -> list[str]:
    """What to run for `slipway ARGUMENTS…` where only the packages of the plain install can be imported."""
    return program_without_other_packages(COMMAND, *arguments)
