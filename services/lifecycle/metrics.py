"""Metrics of lifecycle, beside those of every service."""

from prometheus_client import Counter, Gauge

objects_deleted = Counter("slipway_objects_deleted", "Objects removed from storage.")
objects_moved = Counter(
    "slipway_objects_moved", "Objects moved to a tier: cold, not being read; hot, being read again.", ["tier"]
)
moves_pending = Gauge("slipway_moves_pending", "Objects on their way between the tiers (counted up to 10,000).")
objects_stored = Gauge("slipway_objects_stored", "Objects in storage, by tier, by last audit.", ["tier"])
objects_stored_bytes = Gauge("slipway_objects_stored_bytes", "Their bytes, by tier, by last audit.", ["tier"])
objects_leftover = Gauge("slipway_objects_leftover", "Second copies in the tier that is not theirs, by last audit.")
objects_misplaced = Gauge("slipway_objects_misplaced", "Objects only in the tier that is not theirs, by last audit.")
objects_unclaimed_bytes = Gauge("slipway_objects_unclaimed_bytes", "Bytes of the unclaimed objects, by last audit.")
objects_missing_bytes = Gauge("slipway_objects_missing_bytes", "Bytes of the missing objects, by last audit.")
objects_unclaimed = Gauge("slipway_objects_unclaimed", "Stored objects that no model is known to have, by last audit.")
objects_foreign = Gauge("slipway_objects_foreign", "Stored objects of no project of this installation, by last audit.")
objects_missing = Gauge(
    "slipway_objects_missing", "Registered objects that are not in storage (counted up to 100,000)."
)
purges_pending = Gauge("slipway_purges_pending", "Purges with a pass before them (counted up to 10,000).")
deletion_stopped = Gauge(
    "slipway_deletion_stopped", "1 while nothing is deleted, since the bucket carries another installation's id."
)
audit_stopped = Gauge("slipway_audit_stopped", "1 if the last audit did nothing about what it found; see its reason.")
