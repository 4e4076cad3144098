"""What pyproject.toml says is what is there: the extras, the lock file, the one version."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.plain_install import (
    PROJECT,
    ROOT,
    command_without_other_packages,
    modules_of_other_packages,
    plain_install,
)

LOCK = tomllib.loads((ROOT / "uv.lock").read_text())


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `slipway ARGUMENTS…` where only the packages of the plain install can be imported."""
    program = command_without_other_packages(*arguments)
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_the_plain_install_has_no_server_package() -> None:
    servers = {Requirement(each).name for each in PROJECT["optional-dependencies"]["server"]}

    assert servers
    assert not plain_install() & servers
    assert {"asyncpg", "isal", "minio", "nats", "prometheus_client"} <= modules_of_other_packages()


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["upload", "--help"], ["models", "list", "--help"], ["admin"]])
def test_the_command_works_after_a_plain_install(arguments: list[str]) -> None:
    ran = command(*arguments)

    assert "Usage: slipway" in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_up_says_after_a_plain_install_which_extra_it_needs() -> None:
    ran = command("up")

    assert ran.returncode == 1
    assert "pip install 'slipway[local]'" in ran.stderr


def test_the_lock_file_is_of_these_dependencies() -> None:
    """uv writes down what it was asked for, beside what it found."""
    [locked] = [package for package in LOCK["package"] if package["name"] == PROJECT["name"]]
    asked = {
        (canonicalize_name(each["name"]), each.get("specifier", ""), tuple(each.get("extras", ())))
        for each in locked["metadata"]["requires-dist"]
    }
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    wanted = {
        (canonicalize_name(each.name), str(each.specifier), tuple(each.extras))
        for each in (Requirement(text) for texts in lists for text in texts)
    }

    assert {(name, frozenset(specifier.split(","))) for name, specifier, _ in asked} == {
        (name, frozenset(specifier.split(","))) for name, specifier, _ in wanted
    }, "uv.lock is of other dependencies than pyproject.toml: run `make lock`"
    assert locked["version"] == PROJECT["version"], "uv.lock is of another version: run `make lock`"


def test_every_locked_package_has_hashes() -> None:
    for package in LOCK["package"]:
        if package["name"] != PROJECT["name"]:
            files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
            assert files, package["name"]
            assert all(file["hash"].startswith("sha256:") for file in files), package["name"]


def test_there_is_one_version_number() -> None:
    """pyproject.toml has it; the programs ask the installed package; the changelog names it."""
    version = PROJECT["version"]
    sources = [path for folder in ("libs", "services", "deploy") for path in (ROOT / folder).rglob("*.py")]
    repeated = [
        str(path.relative_to(ROOT)) for path in sources if re.search(rf'"{re.escape(version)}"', path.read_text())
    ]

    assert repeated == [], "import it: importlib.metadata.version('slipway')"
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("package", ["slipway", "libs", "services", "deploy"])
def test_the_packages_say_that_they_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()
