"""`slipway secrets`: credentials for imports. Values never are arguments, which other users of a machine can see."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import click

from libs.cli.context import Context, pass_context, shared_options
from libs.cli.formatting import ago
from libs.cli.views import table

# Of each type: the fields, each with the environment variable that the store's own tools read.
_FIELDS: Mapping[str, Mapping[str, str]] = {
    "s3": {
        "access_key_id": "AWS_ACCESS_KEY_ID",
        "secret_access_key": "AWS_SECRET_ACCESS_KEY",
        "session_token": "AWS_SESSION_TOKEN",
    },
    "azure": {"account_key": "AZURE_STORAGE_KEY", "sas_token": "AZURE_STORAGE_SAS_TOKEN"},
}
_SHOWN = {"access_key_id"}


@click.group()
def secrets() -> None:
    """Keep, list and delete credentials for imports."""


@secrets.command("set")
@click.argument("name")
@click.option("--type", "kind", type=click.Choice(sorted(_FIELDS)), default="s3", show_default=True)
@click.option("--from-env", is_flag=True, help="Read AWS_ACCESS_KEY_ID and so on, or AZURE_STORAGE_KEY.")
@shared_options
@pass_context
def set_secret(shared: Context, name: str, kind: str, from_env: bool) -> None:
    """Keep a secret called NAME, or replace it; imports that wait for it go on.

    The values are asked for; or read as lines FIELD=VALUE where standard input is no terminal; or with --from-env.
    """
    if from_env:
        values = {field: os.environ.get(variable, "") for field, variable in _FIELDS[kind].items()}
    elif sys.stdin.isatty():
        values = _asked(_FIELDS[kind])
    else:
        values = _read(sys.stdin.read(), _FIELDS[kind])
    given = {field: value for field, value in values.items() if value}
    if not given:
        raise click.UsageError(f"No value was given; {', '.join(_FIELDS[kind])} are the fields of the type {kind}.")
    kept = shared.with_api(lambda api: api.secrets.create(name, "s3" if kind == "s3" else "azure", **given))
    shared.print_result(kept, lambda console: console.print(f"Kept {kept.name}.", markup=False, soft_wrap=True))


def _asked(fields: Mapping[str, str]) -> dict[str, str]:
    """Ask on standard error; Enter leaves a field out."""
    return {
        field: click.prompt(field, default="", show_default=False, hide_input=field not in _SHOWN, err=True)
        for field in fields
    }


def _read(text: str, fields: Mapping[str, str]) -> dict[str, str]:
    """The values of lines FIELD=VALUE. Raises: click.UsageError, which shows no value."""
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        field, equals, value = line.partition("=")
        if not line.strip():
            continue
        if not equals or field.strip() not in fields:
            raise click.UsageError(
                f"Line {number} of standard input is not FIELD=VALUE with one of {', '.join(fields)}."
            )
        values[field.strip()] = value.strip()
    return values


@secrets.command("list")
@shared_options
@pass_context
def list_secrets(shared: Context) -> None:
    """List the project's secrets, without their values."""
    found = shared.with_api(lambda api: api.secrets.list().all())
    rows = [(each.name, each.type, ago(each.created_at), ago(each.last_used_at)) for each in found]
    columns = ("name", "type", "set", "last used")
    shared.print_result({"secrets": found}, lambda console: table(console, columns, rows, "No secrets."))


@secrets.command("delete")
@click.argument("name")
@shared_options
@pass_context
def delete_secret(shared: Context, name: str) -> None:
    """Delete a secret; imports that are under way with it wait for a new one."""
    shared.with_api(lambda api: api.secrets.delete(name))
    said = f"Deleted {name}."
    shared.print_result(
        {"name": name, "deleted": True}, lambda console: console.print(said, markup=False, soft_wrap=True)
    )
