"""`slipway models`: read what the registry knows, and fetch it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from libs.cli.context import Context, pass_context, shared_options
from libs.cli.model_panel import show_report
from libs.cli.progress import shown_on
from libs.cli.views import show_files, show_model, show_models, show_versions
from libs.client import ApiError, AsyncClient, LocalProblem, Model, ModelFile, ModelReport

PARALLEL = 4

named_model = click.argument("model", metavar="NAME_OR_ID")


@click.group()
def models() -> None:
    """List, read, change, share, delete and restore models."""


@models.command("list")
@click.option("--name", help="Only the versions of this name.")
@click.option("--status", help="Only those that are ready, active, error, validating, processing or uploading.")
@click.option("--deleted", is_flag=True, help="Those that were deleted and can be restored.")
@shared_options
@pass_context
def list_models(shared: Context, name: str | None, status: str | None, deleted: bool) -> None:
    """List the project's models, newest first."""
    found = shared.with_api(lambda api: api.models.list(name=name, status=status, deleted=deleted).all())
    shared.print_result({"models": found}, lambda console: show_models(console, found, deleted=deleted))


@models.command("get")
@named_model
@shared_options
@pass_context
def get_model(shared: Context, model: str) -> None:
    """Show one model: its files, what its headers say, and the findings."""

    async def work(api: AsyncClient) -> tuple[Model, list[ModelFile], ModelReport | None]:
        found = await api.models.get(model)
        return found, await api.models.files(found.id).all(), await report_of(api, found.id)

    found, files, report = shared.with_api(work)
    shared.print_result(document(found, files, report), lambda console: show_model(console, found, files, report))


@models.command("versions")
@named_model
@shared_options
@pass_context
def list_versions(shared: Context, model: str) -> None:
    """List every version of the model's name, newest first."""
    found = shared.with_api(lambda api: api.models.versions(model).all())
    shared.print_result({"versions": found}, lambda console: show_versions(console, found))


@models.command("files")
@named_model
@shared_options
@pass_context
def list_files(shared: Context, model: str) -> None:
    """List the model's files, with size and SHA-256."""
    found = shared.with_api(lambda api: api.models.files(model).all())
    shared.print_result({"files": found}, lambda console: show_files(console, found))


@models.command("report")
@named_model
@shared_options
@pass_context
def get_report(shared: Context, model: str) -> None:
    """Show what the checks found, where, and what to do about it."""
    found = shared.with_api(lambda api: api.models.report(model))
    shared.print_result(found, lambda console: show_report(console, found))


@models.command("download")
@named_model
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), help="The folder; ./NAME if not given.")
@click.option("--file", "paths", multiple=True, metavar="PATH", help="Only this file; may be given again.")
@click.option("--parallel", type=click.IntRange(1, 64), default=PARALLEL, show_default=True, help="Files at a time.")
@shared_options
@pass_context
def download(shared: Context, model: str, to: Path | None, paths: tuple[str, ...], parallel: int) -> None:
    """Fetch the model's files, verified by SHA-256.

    Interrupted, the same command goes on where it stopped; what is there already is not transferred again.
    """
    shared.on_interrupt = lambda: "Interrupted. Run the same command again to go on where it stopped."

    async def work(api: AsyncClient) -> tuple[Model, Path, list[ModelFile]]:
        found = await api.models.get(model)
        files = [file async for file in api.models.files(found.id) if not paths or file.path in paths]
        if lacking := set(paths) - {file.path for file in files}:
            raise LocalProblem(f"{found.name} has no file {min(lacking)!r}; see: slipway models files {model}")
        folder = to or Path(found.name.rpartition("/")[2])
        with shown_on(shared.err) as progress:
            await api.models.receive(found.id, folder, files, progress, parallel=parallel)
        return found, folder, files

    found, folder, files = shared.with_api(work)
    result = {"model_id": found.id, "version": found.version, "folder": str(folder), "files": files}
    said = f"{found.name} {found.version or ''}: {len(files)} files in {folder}"
    shared.print_result(result, lambda console: console.print(said, markup=False, soft_wrap=True))


async def report_of(api: AsyncClient, model_id: str) -> ModelReport | None:
    """The verdict, or None while there is none."""
    try:
        return await api.models.report(model_id)
    except ApiError as error:
        if error.status not in (404, 409):
            raise
        return None


def document(model: Model, files: list[ModelFile], report: ModelReport | None) -> dict[str, Any]:
    """A model as `--json` prints it: the API's document, with its files and its report."""
    return {
        **msgspec.to_builtins(model),
        "files": msgspec.to_builtins(files),
        "report": msgspec.to_builtins(report),
    }
