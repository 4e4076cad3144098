"""What commands print for people: a table for a list, a panel for one model or upload."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from libs.cli.formatting import ago, colour, counted, state, until
from libs.cli.model_panel import findings, model_panel
from libs.cli.panels import fact_table, panel
from libs.client import CatalogModel, Key, Model, ModelFile, ModelReport, ModelSummary, Outcome, Project, Session

Justify = Literal["left", "right"]


def show_models(console: Console, models: Sequence[ModelSummary], *, deleted: bool = False) -> None:
    """The models, a line each; of those that are deleted, until when they can be restored."""
    rows = (
        (
            m.name,
            m.version or "",
            state(m.status),
            m.format or "",
            _size(m.size_bytes),
            until(m.restorable_until) if deleted else ago(m.created_at),
            m.id,
        )
        for m in models
    )
    when, empty = ("restorable until", "No deleted models.") if deleted else ("created", "No models yet.")
    table(console, ("name", "version", "status", "format", ">size", when, "id"), rows, empty)


def show_versions(console: Console, versions: Sequence[Model]) -> None:
    """The versions of a model, a line each."""
    rows = (
        (
            v.version or "",
            Text("latest" if v.is_latest else "", "green"),
            state(v.status),
            _size(v.size_bytes),
            ago(v.created_at),
            v.id,
        )
        for v in versions
    )
    table(console, ("version", "", "status", ">size", "created", "id"), rows, "No versions.")


def show_catalog(console: Console, models: Sequence[CatalogModel]) -> None:
    """The models of the catalog, a line each."""
    rows = (
        (
            m.name,
            m.version or "",
            m.owner or "",
            m.architecture or "",
            m.workload_type or "",
            m.quantization or "",
            _size(m.size_bytes),
            m.id,
        )
        for m in models
    )
    columns = ("name", "version", "owner", "architecture", "workload", "quantization", ">size", "id")
    table(console, columns, rows, "Nothing is shared, or nothing like that.")


def show_files(console: Console, files: Sequence[ModelFile]) -> None:
    """The files of a model, a line each, with the whole SHA-256."""
    rows = ((Text(file.path), _size(file.size_bytes), file.sha256) for file in files)
    table(console, ("name", ">size", "sha256"), rows, "No files yet.")


def show_model(console: Console, model: Model, files: Sequence[ModelFile], report: ModelReport | None) -> None:
    """One model, as a panel."""
    console.print(model_panel(model, files, report))


def show_outcome(console: Console, outcome: Outcome) -> None:
    """The verdict on an upload, and what it took."""
    completed, model = outcome.completed, outcome.model
    status = model.status if model else completed.status
    count = f"{completed.file_count} files, {decimal(completed.total_size or 0)}" if completed.file_count else ""
    body: list[RenderableType] = [Text.assemble(state(status), "  ", count)]
    if completed.stripped_prefix:
        body.append(Text(f"Every file was under {completed.stripped_prefix}/; that folder was left out.", "dim"))
    body.append(Text(_took(outcome), "dim"))
    if model and model.status_reason and not (outcome.report and outcome.report.findings):
        body.append(Text(model.status_reason, colour(status)))
    if outcome.report and outcome.report.findings:
        body += [Text(), findings(outcome.report.findings)]
    body.append(Text(f"slipway models get {completed.model_id}", "dim"))
    console.print(panel(completed.model_name or completed.model_id, completed.version or "", status, *body))


def _took(outcome: Outcome) -> str:
    kept = f", {decimal(outcome.kept_bytes)} were there already" if outcome.kept_bytes else ""
    steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in outcome.seconds.items())
    return f"sent {decimal(outcome.sent_bytes)}{kept}; {steps}"


def show_sessions(console: Console, sessions: Sequence[Session]) -> None:
    """The uploads, a line each."""
    rows = (
        (s.model_name, s.version or "", s.kind, state(s.status), f"{s.progress:.0f} %", ago(s.created_at), s.session_id)
        for s in sessions
    )
    table(console, ("model", "version", "kind", "status", ">sent", "created", "id"), rows, "No uploads.")


def show_session(console: Console, session: Session) -> None:
    """One upload: what it has and what it misses."""
    known: dict[str, RenderableType | None] = {
        "status": state(session.status),
        "kind": " ".join(filter(None, (session.kind, session.archive_format))),
        "size": _size(session.archive_size) or None,
        "sent": f"{session.progress:.1f} %",
        "parts": f"{session.uploaded_chunks} of {session.total_chunks}" if session.total_chunks else None,
        "files": f"{session.uploaded_file_count} of {session.expected_file_count}" if session.files else None,
        "missing": _missing(session) or None,
        "unpacked": _unpacked(session),
        "model": session.model_id,
        "id": session.session_id,
        "expires": session.expires_at if session.status == "open" else None,
        "waits for": session.waiting_for,
        "error": Text(session.error.message, "red") if session.error else None,
    }
    console.print(panel(session.model_name, session.version or "", session.status, fact_table(known)))


def _missing(session: Session) -> str:
    if session.status != "open":
        return ""
    if session.files is not None:
        names = [file.relative_path for file in session.files if file.status in ("missing", "partial")]
        return _some(names)
    return _some([f"{first}" if first == last else f"{first}-{last}" for first, last in session.missing or []])


def _some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _unpacked(session: Session) -> str | None:
    done = session.extraction
    return f"{done.members} files, {decimal(done.bytes)}" if done and done.members else None


def show_projects(console: Console, projects: Sequence[Project]) -> None:
    """The projects, a line each."""
    rows = ((p.name, p.slug, _project_state(p), ago(p.created_at), p.id) for p in projects)
    table(console, ("name", "slug", "state", "created", "id"), rows, "No projects yet: slipway admin project create")


def _project_state(project: Project) -> Text:
    if project.status == "deleted":
        return Text(f"deleted {ago(project.deleted_at)}", "dim")
    if project.status == "deleting":
        left = project.left
        rest = f": {counted(left.models, 'model')}, {decimal(left.bytes)} left" if left and left.models else ""
        return Text(f"being deleted{rest}", "yellow")
    return _until(project.revoked_at)


def show_key(console: Console, key: Key) -> None:
    """A new key, on a line of its own so that it can be copied."""
    console.print(key.key or "", markup=False, soft_wrap=True)
    console.print(f"Key {key.id}; it is shown this once.", style="dim", soft_wrap=True)


def show_keys(console: Console, keys: Sequence[Key]) -> None:
    """The keys of a project, a line each, without the keys themselves."""
    rows = (
        (k.name or "", ", ".join(k.scopes or []), k.role or "", _until(k.revoked_at), ago(k.created_at), k.id)
        for k in keys
    )
    table(console, ("name", "scopes", "role", "state", "created", "id"), rows, "No keys yet: slipway admin key create")


def _until(revoked_at: str | None) -> Text:
    return Text(f"revoked {ago(revoked_at)}", "red") if revoked_at else Text("active", "green")


def _size(size_bytes: int | None) -> str:
    return decimal(size_bytes) if size_bytes else ""


def table(console: Console, columns: Iterable[str], rows: Iterable[Sequence[RenderableType]], when_empty: str) -> None:
    """A table without lines; a column whose name starts with ">" is aligned to the right."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        name = column.removeprefix(">")
        # Names and ids are what people copy: where the room is short they go on in a second line, nothing is cut.
        folds = name in ("name", "model", "id")
        justify: Justify = "right" if column.startswith(">") else "left"
        table.add_column(name, justify=justify, no_wrap=not folds, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table if table.row_count else Text(when_empty, "dim"))
