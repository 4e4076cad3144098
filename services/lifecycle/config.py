"""What lifecycle is told."""

from __future__ import annotations

from typing import Annotated

import msgspec

from libs.config import DAY_S, Count, Seconds, ServiceConfig

Pauses = Annotated[str, msgspec.Meta(pattern=r"^\d+(\.\d+)?(,\d+(\.\d+)?)*$")]  # seconds, by commas


class LifecycleConfig(ServiceConfig, frozen=True, kw_only=True):
    """Settings of lifecycle, beside those of every service."""

    purge_workers: Count = 2  # purges at a time in this process
    purge_pauses_s: Pauses = "5,60"  # after the first pass at once: one more pass after each of these
    lease_s: Seconds = 60  # after which another process takes a purge over
    poll_s: Seconds = 1  # behind signals; also how late a due pass may be
    reconcile_interval_s: Seconds = 3600
    orphan_after_s: Seconds = 3600  # younger objects may belong to what is still being written
    forget_after_s: Seconds = 30 * DAY_S  # deleted keys; longer than any event can be late

    @property
    def pauses_s(self) -> tuple[float, ...]:
        """Before the second pass, before the third, …"""
        return tuple(float(pause) for pause in self.purge_pauses_s.split(","))
