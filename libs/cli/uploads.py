"""`slipway uploads`: sessions that are under way, or were."""

from __future__ import annotations

import click

from libs.cli.context import Context, pass_context, shared_options
from libs.cli.render import show_session, show_sessions


@click.group()
def uploads() -> None:
    """List, read and abort uploads."""


@uploads.command("list")
@click.option("--status", help="Only those that are open, processing, completed, failed, aborted or expired.")
@click.option("--name", help="Only those of this model.")
@shared_options
@pass_context
def list_uploads(shared: Context, status: str | None, name: str | None) -> None:
    """List the project's uploads, newest first."""
    found = shared.with_api(lambda api: api.uploads.find(status=status, model_name=name))
    shared.answer({"uploads": found}, lambda console: show_sessions(console, found))


@uploads.command("get")
@click.argument("upload", metavar="ID")
@shared_options
@pass_context
def get_upload(shared: Context, upload: str) -> None:
    """Show one upload: what it has, and what it misses."""
    found = shared.with_api(lambda api: api.uploads.get(upload))
    shared.answer(found, lambda console: show_session(console, found))


@uploads.command("abort")
@click.argument("upload", metavar="ID")
@shared_options
@pass_context
def abort_upload(shared: Context, upload: str) -> None:
    """Give an upload up; what it sent is removed."""
    shared.with_api(lambda api: api.uploads.abort(upload))
    shared.answer({"session_id": upload, "status": "aborted"}, lambda console: console.print(f"Aborted {upload}."))
