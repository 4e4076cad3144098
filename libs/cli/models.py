"""`slipway models`: what the registry knows."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from libs.cli.context import Context, pass_context, shared_options
from libs.cli.views import show_model, show_models
from libs.client import ApiError, AsyncClient, Model, ModelFile, ModelReport


@click.group()
def models() -> None:
    """List and read models."""


@models.command("list")
@shared_options
@pass_context
def list_models(shared: Context) -> None:
    """List the project's models, newest first."""
    found = shared.with_api(lambda api: api.models.list().all())
    shared.print_result({"models": found}, lambda console: show_models(console, found))


@models.command("get")
@click.argument("model", metavar="NAME_OR_ID")
@shared_options
@pass_context
def get_model(shared: Context, model: str) -> None:
    """Show one model: its files, what its headers say, and the findings."""

    async def work(api: AsyncClient) -> tuple[Model, list[ModelFile], ModelReport | None]:
        found = await api.models.get(model)
        return found, await api.models.files(found.id).all(), await report_of(api, found.id)

    found, files, report = shared.with_api(work)
    shared.print_result(document(found, files, report), lambda console: show_model(console, found, files, report))


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
