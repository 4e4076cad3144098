"""The data directory: ours alone, its secrets made once and readable by nobody else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest

from deploy.local.data_directory import Credentials, DataDirectory, write_private
from deploy.local.errors import DataDirectoryTaken, DataDirectoryUnusable
from libs.sealing import Keys

CREDENTIALS = Credentials("http://127.0.0.1:8080/proj_A/v1", "proj_A", "xero_a_1", "xero_operator_1")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_second_user_of_the_directory_is_told_who_has_it(tmp_path: Path) -> None:
    with DataDirectory.open(tmp_path):
        second = DataDirectory.open(tmp_path)
        with pytest.raises(DataDirectoryTaken, match=rf"pid {os.getpid()}.*--data-dir"), second:
            pass


def test_the_directory_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with DataDirectory.open(tmp_path / "new" / "home"):
            pass


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataDirectoryUnusable, match=r"file/home: Not a directory.*--data-dir"),
        DataDirectory.open(tmp_path / "file/home"),
    ):
        pass


def test_secrets_are_made_once(tmp_path: Path) -> None:
    with DataDirectory.open(tmp_path) as directory:
        first = directory.secrets()
    with DataDirectory.open(tmp_path) as directory:
        assert directory.secrets() == first


def test_a_directory_of_an_earlier_release_gets_the_key_that_it_lacks_and_keeps_all_others(tmp_path: Path) -> None:
    with DataDirectory.open(tmp_path) as directory:
        now = directory.secrets()
        earlier = {name: text for name, text in msgspec.to_builtins(now).items() if name != "secrets_key"}
        write_private(tmp_path / "secrets.json", msgspec.json.encode(earlier))
        mended = directory.secrets()
        assert Keys.parse(mended.secrets_key)
        assert msgspec.structs.replace(mended, secrets_key=now.secrets_key) == now
        assert directory.secrets() == mended


def test_what_is_secret_is_readable_by_us_alone(tmp_path: Path) -> None:
    with DataDirectory.open(tmp_path / "home") as directory:
        directory.secrets()
        directory.write_credentials(CREDENTIALS)
        assert directory.credentials() == CREDENTIALS
    assert mode(tmp_path / "home") == 0o700
    assert {each.name: mode(each) for each in directory.path.iterdir()} == {
        "credentials.json": 0o600,
        "secrets.json": 0o600,
        "lock": 0o600,
        "run": 0o700,
        "logs": 0o700,
    }


def test_a_private_file_replaces_one_that_was_open_to_others(tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    file.write_text("old")
    file.chmod(0o644)
    write_private(file, b"new")
    assert (file.read_text(), mode(file)) == ("new", 0o600)
