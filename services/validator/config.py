"""What the validator is told."""

from __future__ import annotations

from libs.config import Count, Seconds, ServiceConfig

DAY_S = 86_400


class ValidatorConfig(ServiceConfig, frozen=True, kw_only=True):
    """Settings of the validator, beside those of every service."""

    models: Count = 4  # validated at a time in this process
    requests: Count = 8  # ranges fetched at a time, over all models
    forget_after_s: Seconds = 30 * DAY_S  # verdicts, to be told again; longer than the broker keeps any event
