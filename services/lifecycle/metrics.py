"""Metrics of lifecycle, beside those of every service."""

from prometheus_client import Counter, Gauge

objects_deleted = Counter("slipway_objects_deleted", "Objects removed from storage.")
objects_unclaimed = Counter("slipway_objects_unclaimed", "Objects found in storage that nobody had told of.")
objects_missing = Gauge("slipway_objects_missing", "Registered objects that the last reconciliation did not find.")
purges_pending = Gauge("slipway_purges_pending", "Purges with a pass before them.")
