"""`slipway import`: the server copies a model from another object store."""

from __future__ import annotations

from typing import Any

import click
import msgspec
from rich.console import Console

from libs.cli.context import Context, pass_context, shared_options
from libs.cli.progress import shown_on
from libs.cli.views import show_model
from libs.client import AsyncClient, ImportBegun, Model


@click.command("import")
@click.argument("source", metavar="SOURCE")
@click.option("--name", required=True, help="The model's name; the same name again makes a new version.")
@click.option("--version", help="Its version; the next one (1.0.0, 1.1.0, …) if not given.")
@click.option("--secret", help="The secret to read it with, see: slipway secrets; none for what is public.")
@click.option("--endpoint", help="Of a store other than Amazon's or Azure's own, like https://minio.example.com.")
@click.option("--region", help="Of the bucket.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the model is copied and validated.")
@shared_options
@pass_context
def import_model(shared: Context, /, source: str, name: str, no_wait: bool, **wanted: str | None) -> None:
    """Copy a model from SOURCE: s3://BUCKET/FOLDER, or https://ACCOUNT.blob.core.windows.net/CONTAINER/FOLDER.

    The server reads it; no byte passes this machine, and an interruption of this command stops nothing.
    """

    async def work(api: AsyncClient) -> tuple[ImportBegun, Model | None]:
        begun = await api.imports.create(source, name=name, **wanted)
        shared.on_interrupt = lambda: f"Interrupted. The server goes on; see: slipway uploads get {begun.session_id}"
        if no_wait:
            return begun, None
        with shown_on(shared.err) as progress:
            return begun, await api.imports.follow(begun.session_id, progress)

    begun, model = shared.with_api(work)
    shared.print_result(_document(begun, model), lambda console: _show(console, begun, model))


def _document(begun: ImportBegun, model: Model | None) -> dict[str, Any]:
    status = model.status if model else begun.status
    return {**msgspec.to_builtins(begun), "status": status, "model": msgspec.to_builtins(model)}


def _show(console: Console, begun: ImportBegun, model: Model | None) -> None:
    if model is not None:
        show_model(console, model, (), None)
    else:
        said = f"{begun.file_count} files are being copied; see: slipway uploads get {begun.session_id}"
        console.print(said, markup=False, soft_wrap=True)
