"""`slipway admin`: for operators; projects and keys, how the services are, what is parked, audits of storage."""

from __future__ import annotations

import click

from libs.cli.admin_access import features, members
from libs.cli.admin_views import show_audit, show_parked, show_refused, show_republished, show_resumed, show_status
from libs.cli.context import Context, pass_context, shared_options
from libs.cli.limits import limits
from libs.cli.views import show_key, show_keys, show_projects


@click.group()
def admin() -> None:
    """For operators; needs the operator key."""


admin.add_command(features)
admin.add_command(members)
admin.add_command(limits)


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
    shared.print_result(made, lambda console: show_projects(console, [made]))


@project.command("list")
@shared_options
@pass_context
def list_projects(shared: Context) -> None:
    """List the projects."""
    found = shared.as_operator(lambda api: api.projects.all())
    shared.print_result({"projects": found}, lambda console: show_projects(console, found))


@project.command("revoke")
@click.argument("project_id", metavar="ID")
@shared_options
@pass_context
def revoke_project(shared: Context, project_id: str) -> None:
    """Disable a project; its keys stop working at once."""
    shared.as_operator(lambda api: api.projects.revoke(project_id))
    shared.print_result({"id": project_id, "revoked": True}, lambda console: console.print(f"Revoked {project_id}."))


@admin.group("delete")
def delete() -> None:
    """Delete what nothing brings back."""


@delete.command("project")
@click.argument("project_id", metavar="ID")
@click.option("--confirm", metavar="NAME", help="The project's name; asked for if it is not given.")
@shared_options
@pass_context
def delete_project(shared: Context, project_id: str, confirm: str | None) -> None:
    """Delete a project with its models, files and keys, for good.

    Its keys stop working at once, the rest goes by and by.
    """
    name = confirm if confirm is not None else click.prompt(f"Name of the project {project_id}, to confirm", err=True)
    deleting = shared.as_operator(lambda api: api.projects.delete(project_id, name))
    shared.print_result(deleting, lambda console: show_projects(console, [deleting]))
    shared.note("slipway admin project list shows what is left of it, and when it was done.")


@admin.group()
def key() -> None:
    """Create, list and revoke keys of a project."""


_of_project = click.option("--project", "project_id", required=True, metavar="ID", help="The project's id.")


@key.command("create")
@_of_project
@click.option("--name", help="A name to know the key by.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    help="models, files (or their halves models:read, models:write, …), batches or inference; all if none is given.",
)
@click.option("--role", type=click.Choice(["member", "admin"]), help="member if not given.")
@click.option("--member", "member_id", metavar="ID", help="Whose key it is; it is revoked with them.")
@click.option("--expires-at", help="When it stops working (RFC 3339, e.g. 2027-01-01T00:00:00Z); never if not given.")
@shared_options
@pass_context
def create_key(
    shared: Context,
    project_id: str,
    name: str | None,
    scopes: tuple[str, ...],
    role: str | None,
    member_id: str | None,
    expires_at: str | None,
) -> None:
    """Make a key; it is shown this once."""
    made = shared.as_operator(
        lambda api: api.projects.create_key(
            project_id,
            name=name,
            scopes=list(scopes) or None,
            role=role,
            member_id=member_id,
            expires_at=expires_at,
        )
    )
    shared.print_result(made, lambda console: show_key(console, made))


@key.command("list")
@_of_project
@shared_options
@pass_context
def list_keys(shared: Context, project_id: str) -> None:
    """List a project's keys, without the keys themselves."""
    found = shared.as_operator(lambda api: api.projects.keys(project_id))
    shared.print_result({"keys": found}, lambda console: show_keys(console, found))


@key.command("revoke")
@click.argument("key_id", metavar="ID")
@_of_project
@shared_options
@pass_context
def revoke_key(shared: Context, key_id: str, project_id: str) -> None:
    """Revoke a key; it stops working at once."""
    shared.as_operator(lambda api: api.projects.revoke_key(project_id, key_id))
    shared.print_result({"id": key_id, "revoked": True}, lambda console: console.print(f"Revoked {key_id}."))


@admin.command("status")
@shared_options
@pass_context
def status(shared: Context) -> None:
    """Show how every process is, and which services do not answer."""
    found = shared.as_operator(lambda api: api.operator.status())
    shared.print_result(found, lambda console: show_status(console, found))


@admin.group()
def outbox() -> None:
    """List and retry events that the broker refused."""


@outbox.command("list")
@shared_options
@pass_context
def list_refused(shared: Context) -> None:
    """List the events that the broker refused."""
    found = shared.as_operator(lambda api: api.operator.status())
    refused = [{"service": each.service, "refused": each.refused} for each in found.services if each.refused]
    shared.print_result({"services": refused}, lambda console: show_refused(console, found))


@outbox.command("retry")
@click.argument("event_ids", nargs=-1, metavar="[ID]...")
@shared_options
@pass_context
def retry_outbox(shared: Context, event_ids: tuple[str, ...]) -> None:
    """Publish refused events again: those named, or all."""
    done = shared.as_operator(lambda api: api.operator.retry_outbox(event_ids))
    shared.print_result({"services": done}, lambda console: show_republished(console, done))


@admin.command("replay")
@click.option("--since", metavar="TIME", help="All events since then (RFC 3339, e.g. 2027-01-01T00:00:00Z).")
@click.option("--event", "event_ids", multiple=True, metavar="ID", help="This event; may be given again.")
@shared_options
@pass_context
def replay(shared: Context, since: str | None, event_ids: tuple[str, ...]) -> None:
    """Publish events again that were published; who has applied them does nothing."""
    if since is None and not event_ids:
        raise click.UsageError("Give --since or --event.")
    done = shared.as_operator(lambda api: api.operator.replay(since=since, event_ids=event_ids))
    shared.print_result({"services": done}, lambda console: show_republished(console, done))


@admin.group()
def resume() -> None:
    """Try what is parked again now."""


@resume.command("upload")
@click.argument("upload_id", metavar="ID")
@shared_options
@pass_context
def resume_upload(shared: Context, upload_id: str) -> None:
    """Try to unpack an upload again now."""
    resumed = shared.as_operator(lambda api: api.operator.resume_upload(upload_id))
    shared.print_result(resumed, lambda console: show_resumed(console, resumed))


@resume.command("model")
@click.argument("model_id", metavar="ID")
@shared_options
@pass_context
def resume_model(shared: Context, model_id: str) -> None:
    """Validate a model again now, also after it was given up."""
    resumed = shared.as_operator(lambda api: api.operator.resume_model(model_id))
    shared.print_result(resumed, lambda console: show_resumed(console, resumed))


@admin.command("parked")
@shared_options
@pass_context
def parked(shared: Context) -> None:
    """List the uploads and models that wait, for what, and since when."""
    found = shared.as_operator(lambda api: api.operator.parked())
    shared.print_result({"parked": found}, lambda console: show_parked(console, found))


@admin.command("audit")
@click.option("--fix", is_flag=True, help="Remove what no model is known to have, however much it is.")
@click.option("--last", is_flag=True, help="Show the last one instead of making another.")
@click.option(
    "--wait", "wait_s", default=60, metavar="SECONDS", show_default=True, help="Wait this long for the result."
)
@shared_options
@pass_context
def audit(shared: Context, fix: bool, last: bool, wait_s: int) -> None:
    """Compare storage with what is registered, and show what is missing and what belongs to nothing."""
    if last and fix:
        raise click.UsageError("--last shows what was found; --fix makes another audit.")
    if last:
        found = next(iter(shared.as_operator(lambda api: api.operator.audits())), None)
    else:
        found = shared.as_operator(lambda api: api.operator.audit(fix=fix, wait_s=wait_s))
    if found is None:
        raise click.ClickException(
            "There was no audit yet."
            if last
            else "No result yet; slipway admin audit --last shows it when it is there."
        )
    result = found
    shared.print_result(result, lambda console: show_audit(console, result))
