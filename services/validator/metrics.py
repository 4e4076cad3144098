"""What the validator counts, beside what every service does."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

running = Gauge("slipway_running_validations", "Validations that this process holds a lease on.")
attempts = Counter("slipway_validation_attempts", "Attempts, by how they ended.", ["outcome"])
