"""Flags before environment before file, and what is said when nothing is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.client.errors import LocalProblem
from libs.client.settings import DEFAULT_FILE, SettingMissing, Settings, find_settings

FROM_FILE = '{"base_url": "http://file/v1", "project_id": "proj_F", "api_key": "file", "operator_key": "file"}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / DEFAULT_FILE).parent.mkdir()
    (tmp_path / DEFAULT_FILE).write_text(FROM_FILE)
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "environ", "expected"),
    [
        ({"api_key": "flag"}, {"SLIPWAY_API_KEY": "environment"}, "flag"),
        ({}, {"SLIPWAY_API_KEY": "environment", "SLIPWAY_BASE_URL": "http://file/v1"}, "environment"),
        ({}, {"SLIPWAY_API_KEY": ""}, "file"),
        ({}, {}, "file"),
    ],
)
def test_precedence(folder: Path, flags: dict[str, str], environ: dict[str, str], expected: str) -> None:
    found = find_settings(flags, environ, folder)

    assert found.api_key == expected
    assert found.base_url == "http://file/v1"


@pytest.mark.parametrize("variable", ["SLIPWAY_API_KEY", "SLIPWAY_OPERATOR_KEY"])
def test_a_key_from_the_environment_goes_to_no_address_that_lies_in_a_folder(folder: Path, variable: str) -> None:
    """Whoever made the folder would be given the key."""
    with pytest.raises(SettingMissing, match="not used with a key from the environment"):
        find_settings({}, {variable: "environment"}, folder).need("base_url")
    named = find_settings({"credentials": str(DEFAULT_FILE)}, {variable: "environment"}, folder)
    assert named.need("base_url") == "http://file/v1"


@pytest.mark.parametrize("named", ["other.json", "."])
def test_credentials_are_a_file_or_its_directory(tmp_path: Path, named: str) -> None:
    name = "credentials.json" if named == "." else named
    (tmp_path / name).write_text('{"api_key": "named"}')

    assert find_settings({"credentials": named}, {}, tmp_path).api_key == "named"
    assert find_settings({}, {"SLIPWAY_CREDENTIALS": named}, tmp_path).api_key == "named"


@pytest.mark.parametrize(
    ("content", "words"), [(None, "Cannot read"), ("{", "is not what"), ('{"api_key": 1}', "is not")]
)
def test_named_credentials_have_to_be_readable(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "c.json").write_text(content)

    with pytest.raises(LocalProblem, match=words):
        find_settings({"credentials": "c.json"}, {}, tmp_path)


@pytest.mark.parametrize("name", ["base_url", "api_key", "operator_key"])
def test_what_is_missing_is_told_with_every_way_to_give_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingMissing) as raised:
        find_settings({}, {}, tmp_path).need(name)

    for way in (f"--{name.replace('_', '-')}", f"SLIPWAY_{name.upper()}", "--credentials", "SLIPWAY_CREDENTIALS"):
        assert way in raised.value.message


def test_nothing_given_is_no_error_until_it_is_needed(tmp_path: Path) -> None:
    assert find_settings({}, {}, tmp_path) == Settings()
