"""`slipway catalog`: models that other projects share."""

from __future__ import annotations

import click

from libs.cli.context import Context, pass_context, shared_options
from libs.cli.model_panel import show_shared
from libs.cli.views import show_catalog


@click.group()
def catalog() -> None:
    """Find the models that projects share."""


@catalog.command("list")
@click.argument("q", metavar="[WORDS]", required=False)
@click.option("--architecture", help="Like LlamaForCausalLM.")
@click.option("--workload-type", help="chat, code, reasoning, embedding or multilingual.")
@click.option("--format", help="Like safetensors.")
@click.option("--quantization", help="Like awq.")
@click.option("--owner", help="The slug of the project that shares it.")
@shared_options
@pass_context
def list_catalog(shared: Context, /, q: str | None, **wanted: str | None) -> None:
    """List the shared models, the last shared first; with WORDS in name, architecture or description."""
    found = shared.with_api(lambda api: api.catalog.list(q, **wanted).all())
    shared.print_result({"models": found}, lambda console: show_catalog(console, found))


@catalog.command("get")
@click.argument("model_id", metavar="ID")
@shared_options
@pass_context
def get_entry(shared: Context, model_id: str) -> None:
    """Show one shared model."""
    found = shared.with_api(lambda api: api.catalog.get(model_id))
    shared.print_result(found, lambda console: show_shared(console, found))
