"""`slipway upload`: a directory or an archive becomes a model. `slipway uploads`: list, show and abort uploads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from libs.cli.context import Context, pass_context, shared_options
from libs.cli.progress import shown_on
from libs.cli.views import show_outcome, show_session, show_sessions
from libs.client import PARALLEL, AsyncClient, DigestCache, ModelUpload, Outcome, inspect
from libs.client.local import LocalDirectory
from libs.contracts.formats import SUFFIXES

_HELP = f"""Upload PATH, a model's directory or an archive of it ({SUFFIXES}).

Interrupted, the same command goes on where it stopped: only what the server does not have yet is sent.
"""


@click.command(help=_HELP)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="The model's name; the same name again makes a new version.")
@click.option("--version", help="Its version; the next one (1.0.0, 1.1.0, …) if not given.")
@click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    default=PARALLEL,
    show_default=True,
    help="Files, or parts of an archive, at a time.",
)
@click.option("--no-wait", is_flag=True, help="Do not wait until the model is unpacked and validated.")
@shared_options
@pass_context
def upload(shared: Context, path: Path, name: str, version: str | None, parallel: int, no_wait: bool) -> None:
    """`slipway upload`. Exits with 1 if the model is rejected, or its upload refused."""
    source = inspect(path)
    for note in source.notes if isinstance(source, LocalDirectory) else ():
        shared.note(note)

    async def work(api: AsyncClient) -> Outcome:
        with shown_on(shared.err) as progress:
            run = ModelUpload(
                api, source, name, version=version, parallel=parallel, progress=progress, digests=DigestCache()
            )
            shared.on_interrupt = lambda: _how_to_go_on(run)
            return await run.run(wait=not no_wait)

    outcome = shared.with_api(work)
    shared.print_result(document(outcome), lambda console: show_outcome(console, outcome))
    if outcome.failed:
        sys.exit(1)


def document(outcome: Outcome) -> dict[str, Any]:
    """An outcome as `--json` prints it."""
    model, completed = outcome.model, outcome.completed
    return {
        "model_id": completed.model_id,
        "model_name": completed.model_name,
        "version": completed.version,
        "status": model.status if model else completed.status,
        "status_reason": model.status_reason if model else None,
        "session_id": outcome.session_id,
        "resumed": outcome.resumed,
        "sent_bytes": outcome.sent_bytes,
        "kept_bytes": outcome.kept_bytes,
        "stripped_prefix": completed.stripped_prefix,
        "file_count": completed.file_count,
        "total_size": completed.total_size,
        "files": msgspec.to_builtins(completed.files),
        "model": msgspec.to_builtins(model),
        "findings": msgspec.to_builtins(outcome.report.findings if outcome.report else []),
        "seconds": {step: round(took, 3) for step, took in outcome.seconds.items()},
    }


def _how_to_go_on(run: ModelUpload) -> str:
    if run.stage in ("preparing", "sending"):
        return "Interrupted. Run the same command again to go on where it stopped." + (
            f" To give it up: slipway uploads abort {run.session_id}" if run.session_id else ""
        )
    return f"Interrupted. Everything is sent and the server goes on; see: slipway models get {run.model_id}"


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
    found = shared.with_api(lambda api: api.uploads.list(status=status, model_name=name).all())
    shared.print_result({"uploads": found}, lambda console: show_sessions(console, found))


@uploads.command("get")
@click.argument("upload", metavar="ID")
@shared_options
@pass_context
def get_upload(shared: Context, upload: str) -> None:
    """Show one upload: what it has, and what it misses."""
    found = shared.with_api(lambda api: api.uploads.get(upload))
    shared.print_result(found, lambda console: show_session(console, found))


@uploads.command("abort")
@click.argument("upload", metavar="ID")
@shared_options
@pass_context
def abort_upload(shared: Context, upload: str) -> None:
    """Give an upload up; what it sent is removed."""
    shared.with_api(lambda api: api.uploads.abort(upload))
    shared.print_result(
        {"session_id": upload, "status": "aborted"}, lambda console: console.print(f"Aborted {upload}.")
    )
