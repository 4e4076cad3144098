"""Postgres refuses to be root; each way of being somebody else works, and one finds the data of another."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from deploy.local import server, unprivileged
from deploy.local.errors import CannotRun
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres, binaries
from deploy.local.process import RunAs, launched
from deploy.local.unprivileged import AS_ROOT


def possible(run_as: RunAs) -> RunAs:
    """`run_as`, or skip the test, saying why it cannot be had here."""
    if os.geteuid() != 0:
        pytest.skip("only root has to become somebody else")
    if reason := unprivileged.why_not(run_as, binaries() / "postgres"):
        pytest.skip(f"{run_as}: {reason}")
    return run_as


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A data directory below one that others may not enter, with a name too long for a socket's path."""
    home = tmp_path / "home" / ("x" * 120) / "slipway"
    home.mkdir(parents=True)
    (tmp_path / "home").chmod(0o700)
    return home


@asynccontextmanager
async def running(data_dir: Path, run_as: RunAs) -> AsyncIterator[asyncpg.Connection]:
    postgres = Postgres(data_dir, free_port(), "password", run_as)
    process = await server.start(postgres)
    connection = await asyncpg.connect(postgres.url)
    try:
        yield connection
    finally:
        await connection.close()
        assert await process.stop(within_s=10) == 0


@pytest.mark.parametrize("run_as", AS_ROOT)
async def test_it_runs_below_a_directory_closed_to_others(closed: Path, run_as: RunAs) -> None:
    async with running(closed, possible(run_as)) as connection:
        await connection.execute("CREATE TABLE kept (value text)")
        owner = pwd.getpwuid((closed / "postgres").stat().st_uid).pw_name
        assert owner == ("nobody" if run_as == "nobody" else pwd.getpwuid(os.geteuid()).pw_name)
        assert (closed / "postgres").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("run_as", AS_ROOT)
def test_its_programs_may_be_below_a_directory_closed_to_others(closed: Path, run_as: RunAs) -> None:
    """They are asked for with access(2), which has rules of its own for who is not root."""
    program = closed / "program"
    program.touch(mode=0o700)
    ask = f"import os, sys; sys.exit(not os.access({str(program)!r}, os.X_OK))"
    command = launched((sys.executable, "-I", "-c", ask), possible(run_as), signal.SIGKILL)
    assert subprocess.run(command, check=False).returncode == 0


@pytest.mark.parametrize(("first", "then"), [AS_ROOT, AS_ROOT[::-1]])
async def test_data_made_one_way_are_read_another_way(closed: Path, first: RunAs, then: RunAs) -> None:
    async with running(closed, possible(first)) as connection:
        await connection.execute("CREATE TABLE kept AS SELECT 'here' AS value")
    async with running(closed, possible(then)) as connection:
        assert await connection.fetchval("SELECT value FROM kept") == "here"


async def test_an_interrupted_first_start_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "postgres.new").mkdir()
    (tmp_path / "postgres.new" / "PG_VERSION").write_text("18")
    async with running(tmp_path, unprivileged.choose(binaries() / "postgres")) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_stale_pid_file_does_not_keep_it_from_starting(tmp_path: Path) -> None:
    run_as = unprivileged.choose(binaries() / "postgres")
    async with running(tmp_path, run_as):
        pass
    (tmp_path / "postgres" / "postmaster.pid").write_text(f"{os.getppid()}\n{tmp_path}/postgres\n")
    async with running(tmp_path, run_as) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_nobody_connects_without_the_password(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path, free_port(), "password")
    process = await server.start(postgres)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres.url.replace("password", "guess", 1))
    await process.stop(within_s=10)


def test_an_unknown_way_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(unprivileged.VARIABLE, "wheel")
    with pytest.raises(CannotRun, match="direct, namespace, nobody"):
        unprivileged.choose(binaries() / "postgres")


def test_where_namespaces_are_forbidden_it_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(unprivileged, "why_not", lambda run_as, _: "forbidden" if run_as == "namespace" else None)
    assert unprivileged.choose(Path("postgres")) == "nobody"

    monkeypatch.setattr(unprivileged, "why_not", lambda run_as, _: f"no {run_as}")
    with pytest.raises(CannotRun, match="namespace: no namespace; nobody: no nobody"):
        unprivileged.choose(Path("postgres"))
