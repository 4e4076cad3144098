"""`slipway admin features` and `slipway admin members`: what a project may do, and who works in it."""

from __future__ import annotations

import click

from libs.cli.admin_views import show_features, show_members
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


@click.group()
def members() -> None:
    """Add, list and remove members of a project, and change their roles."""


_role = click.Choice(["member", "admin"])


@members.command("add")
@click.argument("project_id", metavar="PROJECT")
@click.argument("name")
@click.option("--role", type=_role, default="member", show_default=True, help="What they may do.")
@shared_options
@pass_context
def add_member(shared: Context, project_id: str, name: str, role: str) -> None:
    """Add somebody called NAME (or their e-mail address) to PROJECT."""
    made = shared.as_operator(lambda api: api.operator.add_member(project_id, name, role))
    shared.print_result(made, lambda console: show_members(console, [made]))


@members.command("list")
@click.argument("project_id", metavar="PROJECT")
@shared_options
@pass_context
def list_members(shared: Context, project_id: str) -> None:
    """List the members of PROJECT, removed ones too."""
    found = shared.as_operator(lambda api: api.operator.members(project_id))
    shared.print_result({"members": found}, lambda console: show_members(console, found))


@members.command("role")
@click.argument("project_id", metavar="PROJECT")
@click.argument("member_id", metavar="ID")
@click.argument("role", type=_role)
@shared_options
@pass_context
def set_role(shared: Context, project_id: str, member_id: str, role: str) -> None:
    """Give a member of PROJECT another role; their keys have at most that at once."""
    changed = shared.as_operator(lambda api: api.operator.set_member_role(project_id, member_id, role))
    shared.print_result(changed, lambda console: show_members(console, [changed]))


@members.command("remove")
@click.argument("project_id", metavar="PROJECT")
@click.argument("member_id", metavar="ID")
@shared_options
@pass_context
def remove_member(shared: Context, project_id: str, member_id: str) -> None:
    """Remove a member of PROJECT; their keys stop working at once."""
    removed = shared.as_operator(lambda api: api.operator.remove_member(project_id, member_id))
    shared.print_result(removed, lambda console: show_members(console, [removed]))
