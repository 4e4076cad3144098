"""A model as one panel: what its headers say, its files, and what the checks found."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from libs.cli.formatting import short, state
from libs.cli.panels import fact_table, panel
from libs.client import CatalogModel, MemoryNeed, Model, ModelFile, ModelReport
from libs.contracts import Finding

_SEVERITY = {"error": ("✗", "red"), "warning": ("!", "yellow"), "info": ("i", "cyan")}


def model_panel(model: Model, files: Sequence[ModelFile], report: ModelReport | None) -> Panel:
    """`files` and `report` may be empty and None while the model is not there yet."""
    parts: list[RenderableType] = [_facts(model)]
    if files:
        parts += [Text(), _files(files)]
    if report is not None and (report.validated_at or report.findings):
        parts += [Text(), _verdict(report)]
    detail = f"{model.version or ''}{'  latest' if model.is_latest else ''}"
    return panel(model.name, detail, model.status, *parts)


def show_shared(console: Console, model: CatalogModel) -> None:
    """A model of the catalog, as a panel."""
    known: dict[str, RenderableType | None] = {
        "owner": model.owner,
        "architecture": model.architecture,
        "format": model.format,
        "quantization": model.quantization,
        "parameters": _parameters(model.parameter_count),
        "context": f"{model.context_length:,} tokens" if model.context_length else None,
        "workload": model.workload_type,
        "license": model.license,
        "memory": _memory(model.memory),
        "size": model.size_formatted,
        "description": model.description,
        "shared": f"{model.shared_at or ''}, deployed {model.deployment_count} times",
        "id": model.id,
    }
    console.print(panel(model.name, model.version or "", "ready", fact_table(known)))


def show_report(console: Console, report: ModelReport) -> None:
    """The verdict on a model by itself."""
    status = Text.assemble(state(report.status), f"  {report.status_reason}" if report.status_reason else "")
    console.print(status)
    if report.validated_at or report.findings:
        console.print(_verdict(report))


def _facts(model: Model) -> Table:
    return fact_table(
        {
            "status": _status(model),
            "architecture": model.architecture,
            "format": ", ".join(filter(None, (model.format, model.dtype))) or None,
            "quantization": model.quantization,
            "parameters": _parameters(model.parameter_count),
            "context": f"{model.context_length:,} tokens" if model.context_length else None,
            "shape": _shape(model),
            "workload": model.workload_type,
            "license": model.license,
            "memory": _memory(model.memory),
            "deployable": _deployable(model),
            "size": f"{decimal(model.size_bytes)} in {model.file_count or '?'} files" if model.size_bytes else None,
            "description": model.description,
            "id": model.id,
        }
    )


def _status(model: Model) -> Text:
    return Text.assemble(state(model.status), f"  {model.status_reason}" if model.status_reason else "")


def _shape(model: Model) -> str | None:
    parts = (
        f"{model.num_layers} layers" if model.num_layers else "",
        f"hidden {model.hidden_size:,}" if model.hidden_size else "",
        f"vocabulary {model.vocab_size:,}" if model.vocab_size else "",
    )
    return ", ".join(filter(None, parts)) or None


def _parameters(count: int | None) -> str | None:
    return f"{short(count)} ({count:,})" if count else None


def _memory(need: MemoryNeed | None) -> str | None:
    if need is None:
        return None
    cache = f", {decimal(need.kv_bytes_per_token)} per token of context" if need.kv_bytes_per_token else ""
    fits = f"; fits a {need.smallest_gpu}" if need.smallest_gpu else ""
    return f"{decimal(need.weights_bytes)} of weights{cache}{fits}"


def _deployable(model: Model) -> Text | None:
    if model.deployable is None or model.status not in ("ready", "active"):
        return None
    if model.deployable:
        return Text("yes", "green")
    return Text(f"no: {model.deployable_reason or 'the reason is not known'}", "yellow")


def _files(files: Sequence[ModelFile]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("file", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("sha256", style="dim", overflow="ellipsis")  # cut where the room is short; whole in --json
    for file in files:
        table.add_row(Text(file.path), decimal(file.size_bytes), file.sha256)
    return table


def _verdict(report: ModelReport) -> RenderableType:
    read = ""
    if report.files_read is not None and report.bytes_read is not None:
        read = f"  {report.files_read} files, {decimal(report.bytes_read)} read"
    by = Text(f"checked by {report.validator or 'Slipway'}{read}", "dim")
    if not report.findings:
        return Group(Text("✓ no findings", "green"), by)
    return Group(findings(report.findings), by)


def findings(found: Sequence[Finding]) -> Table:
    """Each finding: how bad, where, what, and what to do."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for finding in sorted(found, key=lambda finding: list(_SEVERITY).index(finding.severity)):
        mark, style = _SEVERITY[finding.severity]
        where = f"{finding.file}: " if finding.file else ""
        if finding.file and finding.offset_bytes is not None:
            where = f"{finding.file} at byte {finding.offset_bytes}: "
        grid.add_row(
            Text(mark, style),
            Text.assemble((where, "bold"), finding.message, " ", (finding.fix, style), (f"  [{finding.rule}]", "dim")),
        )
    return grid
