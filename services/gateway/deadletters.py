"""The finding for an event that a service could not handle."""

from __future__ import annotations

from libs.bus import DeadLetter
from libs.contracts import Finding, findings


def undeliverable(letter: DeadLetter) -> Finding:
    """The reason that an upload or a model is parked with."""
    message = f"{letter.consumer} could not process {letter.event_type}: {letter.reason}"
    fix = "Tell the operator of this installation; the dead letter has the details."
    return findings.error("processing-failed", message, fix)
