"""The one way to make a finding."""

from __future__ import annotations

from libs.contracts.entities import Finding


def error(rule: str, message: str, fix: str, *, file: str | None = None, offset_bytes: int | None = None) -> Finding:
    """The model or archive is refused.

    `rule` is a stable id in kebab-case; `message` says what was found, and `fix` what the user can do about it.
    """
    return Finding(rule=rule, severity="error", message=message, fix=fix, file=file, offset_bytes=offset_bytes)


def warning(rule: str, message: str, fix: str, *, file: str | None = None, offset_bytes: int | None = None) -> Finding:
    """The model passes, but something is wrong. Parameters as in `error`."""
    return Finding(rule=rule, severity="warning", message=message, fix=fix, file=file, offset_bytes=offset_bytes)


def info(rule: str, message: str, fix: str, *, file: str | None = None, offset_bytes: int | None = None) -> Finding:
    """The model passes; something is worth knowing. Parameters as in `error`."""
    return Finding(rule=rule, severity="info", message=message, fix=fix, file=file, offset_bytes=offset_bytes)
