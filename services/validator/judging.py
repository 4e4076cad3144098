"""From what was read of a model to the verdict on it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version

import msgspec

from libs.contracts import Finding, ModelMetadata, Report
from libs.modelfiles import vllm
from libs.modelfiles.hfconfig import ModelConfig
from libs.modelfiles.index import Index
from libs.modelfiles.quantization import Quantization
from libs.modelfiles.unreadable import Unreadable
from services.validator import metadata
from services.validator.inspection import Inspection
from services.validator.metadata import Known, printable
from services.validator.rules import configuration, pickled, shapes, tokenizer, weights

VERSION = version("slipway")  # the rules come with a release; a verdict says which ones it was reached by

MAX_FINDINGS = 200
_MAX_BYTES = 600 * 1024  # of all findings, as JSON; the broker takes messages of 1 MiB
_MAX_TEXT = 1_000  # characters of a message; a tensor's name alone may have millions
# Warnings about what passes as a model, though vLLM would not start with it
_UNSERVABLE = frozenset({shapes.MISMATCH, tokenizer.MISSING})
_SEVERITIES = ("error", "warning", "info")


def judge(found: Inspection) -> Report:
    """Apply every rule to `found`. Pure: the same inspection has the same report."""
    findings: list[Finding] = []
    listed = _read_index(found, findings)
    config = _read_config(found, findings)
    resolved = vllm.resolve(config.architectures) if config else None
    quantized = configuration.read_quantization(found, config) if config else Quantization(vllm.NATIVE)
    loaded = weights.loaded_files(found, listed)
    tensors = metadata.tensors_of(found, loaded)
    findings += weights.check(found, listed, loaded)
    findings += pickled.check(found, loaded)
    findings += tokenizer.check(found)
    if config:
        findings += configuration.check(found, config, resolved, quantized)
        findings += shapes.check(config, tensors, method=quantized.method, file=found.selection.config)
    known = Known(config=config, resolved=resolved, quantization=quantized, tensors=tensors, loaded=loaded)
    kept = bounded(findings)
    return Report(
        findings=kept,
        metadata=_deployable(metadata.gather(found, known), kept),
        files_read=found.files_read,
        bytes_read=found.bytes_read,
        validator=f"slipway {VERSION}, vLLM {vllm.facts().versions['vllm']}",
    )


def _read_index(found: Inspection, findings: list[Finding]) -> Index | None:
    try:
        return weights.read_index(found)
    except Unreadable as error:
        # vLLM follows the index of safetensors only; of .bin files it loads all there are
        followed = found.selection.format == "safetensors"
        findings.append(error.finding(found.selection.index or "", "error" if followed else "warning"))
        return None


def _read_config(found: Inspection, findings: list[Finding]) -> ModelConfig | None:
    try:
        config = configuration.read_config(found)
        if config:
            config.architectures  # noqa: B018  # raises if it is no list of names
        return config
    except Unreadable as error:
        findings.append(error.finding(found.selection.config))
        return None


def _deployable(gathered: ModelMetadata, findings: list[Finding]) -> ModelMetadata:
    """The metadata, with the first finding for which vLLM could not serve the model."""
    fatal = (finding for finding in findings if finding.severity == "error" or finding.rule in _UNSERVABLE)
    first = next(fatal, None)
    if first is None or not gathered.deployable:
        return gathered
    return msgspec.structs.replace(gathered, deployable=False, deployable_reason=first.message)


def bounded(findings: Iterable[Finding]) -> list[Finding]:
    """The gravest findings first, no more and no longer than an event can carry; the last one counts the rest."""
    ranked = sorted(findings, key=lambda finding: _SEVERITIES.index(finding.severity))
    kept: list[Finding] = []
    room = _MAX_BYTES
    for finding in ranked[:MAX_FINDINGS]:
        short = _cut(finding)
        room -= len(msgspec.json.encode(short))
        if room < 0:
            break
        kept.append(short)
    if rest := ranked[len(kept) :]:
        kept.append(
            Finding(
                rule="more-findings",
                severity=rest[0].severity,
                message=f"There are {len(rest):,} findings more like these.",
                fix="Correct the ones above and validate again.",
            )
        )
    return kept


def _cut(finding: Finding) -> Finding:
    return msgspec.structs.replace(
        finding,
        message=printable(finding.message, _MAX_TEXT),
        fix=printable(finding.fix, _MAX_TEXT),
        file=finding.file and printable(finding.file, _MAX_TEXT),
    )
