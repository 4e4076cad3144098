"""The settings of lifecycle."""

from __future__ import annotations

from typing import Annotated

import msgspec

from libs.config import DAY_S, Count, Seconds, ServiceConfig

Pauses = Annotated[str, msgspec.Meta(pattern=r"^\d+(\.\d+)?(,\d+(\.\d+)?)*$")]  # seconds, by commas
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class LifecycleConfig(ServiceConfig, frozen=True, kw_only=True):
    """Settings of lifecycle, beside those of every service."""

    purge_workers: Count = 2  # purges at a time in this process
    purge_pauses_s: Pauses = "5,60"  # after the first pass at once: one more pass after each of these
    lease_s: Seconds = 60  # after which another process takes a purge, or the audit, over
    poll_s: Seconds = 1  # behind signals; also how late a due pass may be
    installation_check_s: Seconds = 60  # between two looks at whose bucket it is, while something is deleted
    reconcile_interval_s: Seconds = 3600  # from the end of an audit to the next one
    slice_objects: Count = 10_000  # compared under one claim, before other work has its turn
    slice_pause_s: Seconds = 1  # between two slices of an audit
    unclaimed_files_after_s: Seconds = 7 * DAY_S  # younger objects of models are not asked about
    unclaimed_parts_after_s: Seconds = 6 * 3600  # younger parts of uploads are not asked about
    missing_confirm_s: Seconds = 300  # between the two looks after which an object counts as missing
    stop_share: Share = 0.05  # of what is stored: with more unclaimed, or newly missing, an operator has to decide
    stop_above: Count = 20  # objects; fewer never stop an audit
    cold_after_s: Seconds | None = None  # what was not read for so long moves to SLIPWAY_S3_COLD_URL; never if not set
    promote_on_read: bool = True  # what is read in the cold tier moves back
    empty_cold: bool = False  # everything moves back from the cold tier, which is to be given up, and nothing to it
    move_workers: Count = 1  # groups of objects that this process moves between the tiers at a time
    move_rest_s: Seconds = 3600  # after a move, the object stays where it is for at least this long
    forget_after_s: Seconds = 30 * DAY_S  # deleted keys, and purges that never succeed; longer than events are kept

    @property
    def pauses_s(self) -> tuple[float, ...]:
        """Before the second pass, before the third, …"""
        return tuple(float(pause) for pause in self.purge_pauses_s.split(","))
