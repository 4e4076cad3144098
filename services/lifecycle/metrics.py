"""Metrics of lifecycle, beside those of every service."""

from prometheus_client import Counter, Gauge

objects_deleted = Counter("slipway_objects_deleted", "Objects removed from storage.")
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
