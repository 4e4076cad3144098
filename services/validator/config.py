"""The settings of the validator."""

from __future__ import annotations

from libs.config import DAY_S, Count, Seconds, ServiceConfig


class ValidatorConfig(ServiceConfig, frozen=True, kw_only=True):
    """Settings of the validator, beside those of every service."""

    max_validations: Count = 8  # at a time in this process
    max_fetches: Count = 16  # ranges read at a time, over all validations
    lease_s: Seconds = 15  # how long a dead process keeps its validations from others
    poll_s: Seconds = 5  # how often tables are looked at without a signal
    max_attempts: Count = 8  # that fail, or whose process dies, before a validation is parked
    first_patience_s: Seconds = 1  # for one range at the first attempt; doubled at each one
    first_pause_s: Seconds = 0.5  # after the first attempt that fails; doubled at each one, up to 30 s
    first_park_s: Seconds = 60  # until a parked validation is tried again; doubled each time, up to four hours
    forget_after_s: Seconds = 30 * DAY_S  # verdicts, to be sent again; longer than the broker keeps any event
    forget_pieces_after_s: Seconds = 14 * DAY_S  # what was read of files
