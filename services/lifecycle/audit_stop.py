"""When an audit stops without acting on its findings: too many at once mean another fault than they seem to."""

from __future__ import annotations

from services.lifecycle.config import LifecycleConfig
from services.lifecycle.store.audits import Audit

UNORDERED = (
    "The object store does not list keys in the order of their bytes, so that nothing can be compared. "
    "Use a store that lists as S3 does."
)
NO_COLD_TIER = (
    "Objects were moved to a cold tier, and this process knows none. No model was changed. "
    "Set SLIPWAY_S3_COLD_URL again, for every service."
)


def reason_to_stop(audit: Audit, config: LifecycleConfig, *, at_end: bool) -> str | None:
    """Why an operator has to decide about the pass; None if it may go on. Before its end only for missing objects.

    Parts of uploads do not count as unclaimed here: the parts of one slow upload may be most of what is stored, and
    a registry that does not know the upload can do nothing with them.
    """
    expected = audit.objects + audit.missing
    if not at_end:
        expected = max(expected, audit.expected_objects) if audit.expected_objects else 0
    if expected and _too_many(audit.newly_missing, expected, config):
        return (
            f"{audit.newly_missing} registered objects are not in storage, of {expected}: this looks like another "
            "bucket, or one that was emptied. No model was changed. Check SLIPWAY_S3_URL and the store; if the objects "
            "are gone for good, let their models say so with `slipway admin audit --fix`."
        )
    if at_end and _too_many(audit.unclaimed_files, audit.files, config):
        return (
            f"{audit.unclaimed_files} of {audit.files} objects of models belong to no model that is known: this looks "
            "like a registry that was restored from a backup. Nothing was asked or deleted. Restore the registry that "
            "knows them; if they may go, say so with `slipway admin audit --fix`."
        )
    return None


def _too_many(count: int, of: int, config: LifecycleConfig) -> bool:
    return count > config.stop_above and count > config.stop_share * of
