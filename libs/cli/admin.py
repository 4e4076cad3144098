"""`slipway admin`: projects and keys, for operators."""

from __future__ import annotations

import click

from libs.cli.context import Context, pass_context, shared_options
from libs.cli.render import show_key, show_keys, show_projects


@click.group()
def admin() -> None:
    """Projects and their keys; needs the operator key."""


@admin.group()
def project() -> None:
    """Create, list and revoke projects."""


@project.command("create")
@click.argument("name")
@shared_options
@pass_context
def create_project(shared: Context, name: str) -> None:
    """Create a project called NAME."""
    made = shared.as_operator(lambda api: api.projects.create(name))
    shared.answer(made, lambda console: show_projects(console, [made]))


@project.command("list")
@shared_options
@pass_context
def list_projects(shared: Context) -> None:
    """List the projects."""
    found = shared.as_operator(lambda api: api.projects.all())
    shared.answer({"projects": found}, lambda console: show_projects(console, found))


@project.command("revoke")
@click.argument("project_id", metavar="ID")
@shared_options
@pass_context
def revoke_project(shared: Context, project_id: str) -> None:
    """Disable a project; its keys stop working at once."""
    shared.as_operator(lambda api: api.projects.revoke(project_id))
    shared.answer({"id": project_id, "revoked": True}, lambda console: console.print(f"Revoked {project_id}."))


@admin.group()
def key() -> None:
    """Create, list and revoke keys of a project."""


_of_project = click.option("--project", "project_id", required=True, metavar="ID", help="The project's id.")


@key.command("create")
@_of_project
@click.option("--name", help="A name to know the key by.")
@click.option("--scope", "scopes", multiple=True, help="models, files, batches or inference; all if none is given.")
@click.option("--role", type=click.Choice(["member", "admin"]), help="member if not given.")
@click.option("--expires-at", help="When it stops working (RFC 3339, e.g. 2027-01-01T00:00:00Z); never if not given.")
@shared_options
@pass_context
def create_key(
    shared: Context,
    project_id: str,
    name: str | None,
    scopes: tuple[str, ...],
    role: str | None,
    expires_at: str | None,
) -> None:
    """Make a key; it is shown this once."""
    made = shared.as_operator(
        lambda api: api.projects.create_key(
            project_id, name=name, scopes=list(scopes) or None, role=role, expires_at=expires_at
        )
    )
    shared.answer(made, lambda console: show_key(console, made))


@key.command("list")
@_of_project
@shared_options
@pass_context
def list_keys(shared: Context, project_id: str) -> None:
    """List a project's keys, without the keys themselves."""
    found = shared.as_operator(lambda api: api.projects.keys(project_id))
    shared.answer({"keys": found}, lambda console: show_keys(console, found))


@key.command("revoke")
@click.argument("key_id", metavar="ID")
@_of_project
@shared_options
@pass_context
def revoke_key(shared: Context, key_id: str, project_id: str) -> None:
    """Revoke a key; it stops working at once."""
    shared.as_operator(lambda api: api.projects.revoke_key(project_id, key_id))
    shared.answer({"id": key_id, "revoked": True}, lambda console: console.print(f"Revoked {key_id}."))
