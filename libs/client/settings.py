"""Where Slipway is and with which key: what is given before the environment, and that before the credentials file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from libs.client.errors import LocalProblem

DEFAULT_FILE = Path(".slipway") / "credentials.json"  # as `slipway up` writes it

_WHERE = {
    "base_url": ("--base-url", "SLIPWAY_BASE_URL", "the base URL, like http://127.0.0.1:8080/proj_ABC123/v1"),
    "api_key": ("--api-key", "SLIPWAY_API_KEY", "a key of the project"),
    "operator_key": ("--operator-key", "SLIPWAY_OPERATOR_KEY", "the operator key"),
}


class SettingMissing(LocalProblem):
    """A setting was not given by argument, environment or file."""


class Settings(msgspec.Struct, frozen=True):
    """What the credentials file holds, completed or replaced by environment and arguments."""

    base_url: str | None = None
    project_id: str | None = None
    api_key: str | None = None
    operator_key: str | None = None

    def need(self, name: str) -> str:
        """The setting `name`.

        Raises: SettingMissing, naming every way to give it.
        """
        value: str | None = getattr(self, name)
        if value:
            return value
        flag, variable, what = _WHERE[name]
        raise SettingMissing(
            f"Slipway needs {what}. Give {flag}, set {variable}, or name the credentials file with --credentials or "
            f"SLIPWAY_CREDENTIALS (looked for {DEFAULT_FILE}, which `slipway up` writes and which is not used with a "
            "key from the environment)."
        )


def find_settings(given: Mapping[str, str], environ: Mapping[str, str], folder: Path) -> Settings:
    """Gather the settings; `given` has the keys of Settings and `credentials`, `folder` is the current directory.

    A key from the environment is never sent to the address of a file that merely lies in the folder: whoever made that
    folder would be given the key.
    Raises: LocalProblem if a credentials file was named and is not there, or any is not readable.
    """
    named = given.get("credentials") or environ.get("SLIPWAY_CREDENTIALS")
    found = _read(folder / named) if named else _read_default(folder / DEFAULT_FILE)
    replaced: dict[str, str] = {}
    for name, (_, variable, _) in _WHERE.items():
        value = given.get(name) or environ.get(variable)
        if value:
            replaced[name] = value
    from_environment = any(not given.get(name) and environ.get(_WHERE[name][1]) for name in ("api_key", "operator_key"))
    if from_environment and not named:
        found = Settings()
    return msgspec.structs.replace(found, **replaced)


def _read_default(path: Path) -> Settings:
    return _read(path) if path.is_file() else Settings()


def _read(path: Path) -> Settings:
    path = path / DEFAULT_FILE.name if path.is_dir() else path
    try:
        return msgspec.json.decode(path.read_bytes(), type=Settings)
    except OSError as error:
        raise LocalProblem(f"Cannot read the credentials file {path}: {error.strerror}.") from error
    except msgspec.DecodeError as error:
        raise LocalProblem(f"The credentials file {path} is not what `slipway up` writes: {error}.") from error
