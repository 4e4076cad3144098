"""`slipway models`: delete and restore, share and unshare."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click
from rich.console import Console

from libs.cli.context import Context, pass_context, shared_options
from libs.cli.formatting import until
from libs.cli.models import named_model
from libs.cli.views import show_model
from libs.client import AsyncClient, DeletedModel, LocalProblem, Model


@click.command("delete")
@named_model
@click.option("--yes", is_flag=True, help="Do not ask.")
@shared_options
@pass_context
def delete_model(shared: Context, model: str, yes: bool) -> None:
    """Delete one version: that of the id, or the latest of the name. It can be restored for a while."""

    async def find(api: AsyncClient) -> Model:
        return await api.models.get(model)

    async def delete(api: AsyncClient) -> DeletedModel:
        return await api.models.delete(found.id)  # what was shown, also if the name has got another version

    found = shared.with_api(find)
    if not yes:
        _confirm(f"Delete {found.name} {found.version or ''} ({found.size_formatted or 'no files'}, {found.status})?")
    deleted = shared.with_api(delete)
    shared.print_result(deleted, lambda console: _show_deleted(console, found, deleted))


def _confirm(question: str) -> None:
    """Ask on standard error. Raises: click.Abort for no; click.UsageError where nobody can answer."""
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody is there to confirm it; give --yes.")
    click.confirm(question, abort=True, err=True)


def _show_deleted(console: Console, model: Model, deleted: DeletedModel) -> None:
    console.print(f"Deleted {model.name} {model.version or ''}.", markup=False, soft_wrap=True)
    if deleted.restorable_until:
        advice = f"Until {until(deleted.restorable_until)}: slipway models restore {deleted.id}"
        console.print(advice, style="dim", markup=False, soft_wrap=True)


@click.command("restore")
@named_model
@shared_options
@pass_context
def restore_model(shared: Context, model: str) -> None:
    """Bring a deleted model back; of several deleted versions of a name, name one by its id."""

    async def restore(api: AsyncClient) -> Model:
        return await api.models.restore(await _deleted_id(api, model))

    restored = shared.with_api(restore)
    shared.print_result(restored, lambda console: show_model(console, restored, (), None))


async def _deleted_id(api: AsyncClient, model: str) -> str:
    """The id of the deleted model of this name; `model` itself where there is none, since then it is an id."""
    found = await api.models.list(name=model, deleted=True).all()
    if len(found) > 1:
        versions = ", ".join(f"{each.version} is {each.id}" for each in found)
        raise LocalProblem(f"{len(found)} deleted versions have this name; restore one by its id: {versions}.")
    return found[0].id if found else model


@click.command("share")
@named_model
@shared_options
@pass_context
def share_model(shared: Context, model: str) -> None:
    """Put a model into the catalog, where every project may deploy it; needs an admin's key."""
    done = shared.with_api(lambda api: api.models.share(model))
    shared.print_result(done, _saying(f"Shared. See: slipway models catalog-info {model}"))


@click.command("unshare")
@named_model
@shared_options
@pass_context
def unshare_model(shared: Context, model: str) -> None:
    """Take a model out of the catalog; endpoints that use it go on. Needs an admin's key."""
    done = shared.with_api(lambda api: api.models.unshare(model))
    shared.print_result(done, _saying("No longer shared; endpoints that use it go on."))


@click.command("catalog-info")
@named_model
@shared_options
@pass_context
def catalog_info(shared: Context, model: str) -> None:
    """Show what a shared model is in the catalog, and how often it is deployed."""
    found = shared.with_api(lambda api: api.models.catalog_info(model))
    deployed = f"deployed {found.deployment_count} times"
    shared.print_result(found, _saying(f"{found.catalog_role or 'shared'}, {deployed}, since {found.shared_at}"))


def _saying(sentence: str) -> Callable[[Console], None]:
    return lambda console: console.print(sentence, markup=False, soft_wrap=True)


CHANGES = (delete_model, restore_model, share_model, unshare_model, catalog_info)
