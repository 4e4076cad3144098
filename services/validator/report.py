"""The report on a model: what the rules find, and its metadata."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version

import msgspec

from libs.contracts import Finding, ModelMetadata, Report, ValidationOptions, findings
from libs.contracts.limits import MAX_FINDINGS, MAX_FINDINGS_BYTES
from libs.contracts.rules import WEIGHTS_MISSING
from libs.modelfiles import vllm
from services.validator import metadata
from services.validator.model import Model
from services.validator.rules import RULES, Rule, configuration, shapes, tokenizer
from services.validator.text import printable

VERSION = version("slipway")  # the rules come with a release; each report names the one that made it

_MAX_CHARACTERS = 1_000  # of a message, since a tensor's name may have millions
# Warnings about models that pass, though vLLM would not start with them
_UNDEPLOYABLE = frozenset({shapes.MISMATCH, tokenizer.MISSING})
_OF_ABSENT_WEIGHTS = frozenset({WEIGHTS_MISSING, "index-shard-missing", "shard-missing"})
AS_ANY = ValidationOptions()
_SEVERITIES = ("error", "warning", "info")


def build_report(model: Model, *, files_read: int, bytes_read: int, options: ValidationOptions = AS_ANY) -> Report:
    """Apply every rule to `model`. The same model always gets the same findings and metadata for the same options.

    Options make findings milder; whether the model can be deployed does not depend on them, but for `config_only`.
    """
    found = [(finding, check) for check in RULES for finding in check(model)]
    strict = bounded(finding for finding, _ in found)
    milder = (_milder(finding, model, options, of_config=_is_about_config(check)) for finding, check in found)
    return Report(
        findings=bounded(finding for finding in milder if finding is not None),
        metadata=_deployable(metadata.gather(model), strict),
        files_read=files_read,
        bytes_read=bytes_read,
        validator=f"slipway {VERSION}, vLLM {vllm.facts().versions['vllm']}",
    )


def _is_about_config(check: Rule) -> bool:
    return check.__module__ == configuration.__name__


def _milder(finding: Finding, model: Model, options: ValidationOptions, *, of_config: bool) -> Finding | None:
    """The finding as these options have it; None if it is none then."""
    if options.config_only and finding.rule in _OF_ABSENT_WEIGHTS and not model.loaded:
        message = "Only the configuration was uploaded, and no weights, as its client wanted it."
        return findings.info("config-only", message, "Upload the model with its weights to deploy it.")
    if options.trust_remote_code and finding.rule == configuration.REMOTE_CODE:
        return None
    is_own_code = model.config is not None and model.config.needs_remote_code
    trusted = options.trust_remote_code and finding.rule == configuration.UNKNOWN and is_own_code
    if finding.severity == "error" and (trusted or (options.skip_config and of_config)):
        return msgspec.structs.replace(finding, severity="warning")
    return finding


def _deployable(gathered: ModelMetadata, found: list[Finding]) -> ModelMetadata:
    """The metadata, with the first finding for which vLLM could not serve the model."""
    fatal = (finding for finding in found if finding.severity == "error" or finding.rule in _UNDEPLOYABLE)
    first = next(fatal, None)
    if first is None or not gathered.deployable:
        return gathered
    return msgspec.structs.replace(gathered, deployable=False, deployable_reason=first.message)


def bounded(found: Iterable[Finding]) -> list[Finding]:
    """The gravest findings first, no more and no longer than an event can carry; the last one counts the rest."""
    ranked = sorted(found, key=lambda finding: _SEVERITIES.index(finding.severity))
    kept: list[Finding] = []
    room = MAX_FINDINGS_BYTES
    for finding in ranked[:MAX_FINDINGS]:
        short = _shortened(finding)
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


def _shortened(finding: Finding) -> Finding:
    return msgspec.structs.replace(
        finding,
        message=printable(finding.message, _MAX_CHARACTERS),
        fix=printable(finding.fix, _MAX_CHARACTERS),
        file=finding.file and printable(finding.file, _MAX_CHARACTERS),
    )
