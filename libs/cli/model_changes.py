"""`slipway models`: update, revalidate, delete, restore, share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.console import Console

from libs.cli.context import Context, pass_context, shared_options
from libs.cli.formatting import until
from libs.cli.models import named_model
from libs.cli.views import show_model
from libs.client import AsyncClient, DeletedModel, LocalProblem, Model, Revalidation

F = TypeVar("F", bound=Callable[..., Any])

_TEXTS = {
    "--description": "What it is.",
    "--license": "An identifier, like Apache-2.0.",
    "--architecture": "Like LlamaForCausalLM.",
    "--quantization": "A method of vLLM, like awq; native for none.",
    "--workload-type": "chat, code, reasoning, embedding or multilingual.",
}
_NUMBERS = {
    "--context-length": "Tokens.",
    "--parameter-count": "Parameters.",
    "--hidden-size": "The hidden dimension.",
    "--num-layers": "Transformer layers.",
    "--vocab-size": "Tokens of the vocabulary.",
}


def _field_options(command: F) -> F:
    """An option for each field that can be changed; 0 clears a number, as '' does a text."""
    for option, what in reversed(_NUMBERS.items()):
        command = click.option(option, type=click.IntRange(min=0), help=what)(command)
    for option, what in reversed(_TEXTS.items()):
        command = click.option(option, help=what, metavar="TEXT")(command)
    return command


@click.command("update")
@named_model
@_field_options
@shared_options
@pass_context
def update_model(shared: Context, /, model: str, **given: str | int | None) -> None:
    """Change what the registry says of a model; what is not given stays. '' or 0 clears a field."""
    changes: dict[str, Any] = {name: value or None for name, value in given.items() if value is not None}
    if not changes:
        raise click.UsageError("Nothing is to be changed; give at least one option, like --description.")
    updated = shared.with_api(lambda api: api.models.update(model, **changes))
    shared.print_result(updated, lambda console: show_model(console, updated, (), None))


@click.command("revalidate")
@named_model
@click.option("--wait", is_flag=True, help="Wait for the verdict.")
@shared_options
@pass_context
def revalidate_model(shared: Context, model: str, wait: bool) -> None:
    """Have a model checked anew, which is ready or in error. With --wait, exits with 1 if it is in error."""

    async def work(api: AsyncClient) -> Revalidation | Model:
        asked = await api.models.revalidate(model)
        return await api.models.wait(asked.id) if wait else asked

    done = shared.with_api(work)
    said = f"Model {done.id} is {done.status}. See: slipway models get {model}"
    shared.print_result(done, _saying(said))


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
        shared.on_interrupt = lambda: "Nothing is deleted."
        _confirm(f"Delete {found.name} {found.version or ''} ({found.size_formatted or 'no files'}, {found.status})?")
    shared.on_interrupt = lambda: f"Interrupted. Whether it is deleted: slipway models get {found.id}"
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


CHANGES = (update_model, revalidate_model, delete_model, restore_model, share_model, unshare_model, catalog_info)
