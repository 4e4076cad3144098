"""What the validator is told."""

from __future__ import annotations

from libs.config import DAY_S, Count, Seconds, ServiceConfig


class ValidatorConfig(ServiceConfig, frozen=True, kw_only=True):
    """Settings of the validator, beside those of every service."""

    max_validations: Count = 4  # at a time in this process
    max_fetches: Count = 8  # ranges read at a time, over all validations
    forget_after_s: Seconds = 30 * DAY_S  # verdicts, to be told again; longer than the broker keeps any event
