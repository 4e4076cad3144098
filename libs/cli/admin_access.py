"""`slipway admin features`: what a project may do."""

from __future__ import annotations

import click

from libs.cli.admin_views import show_features
from libs.cli.context import Context, pass_context, shared_options


@click.group()
def features() -> None:
    """List, enable and disable features of a project (model_sharing)."""


@features.command("list")
@click.argument("project_id", metavar="PROJECT")
@shared_options
@pass_context
def list_features(shared: Context, project_id: str) -> None:
    """List the features of PROJECT, on or off."""
    found = shared.as_operator(lambda api: api.operator.features(project_id))
    shared.print_result({"features": found}, lambda console: show_features(console, found))


@features.command("enable")
@click.argument("project_id", metavar="PROJECT")
@click.argument("feature")
@shared_options
@pass_context
def enable_feature(shared: Context, project_id: str, feature: str) -> None:
    """Switch FEATURE on for PROJECT."""
    done = shared.as_operator(lambda api: api.operator.enable_feature(project_id, feature))
    shared.print_result(done, lambda console: show_features(console, [done]))


@features.command("disable")
@click.argument("project_id", metavar="PROJECT")
@click.argument("feature")
@shared_options
@pass_context
def disable_feature(shared: Context, project_id: str, feature: str) -> None:
    """Switch FEATURE off for PROJECT; without model_sharing its models leave the catalog."""
    done = shared.as_operator(lambda api: api.operator.disable_feature(project_id, feature))
    shared.print_result(done, lambda console: show_features(console, [done]))
