"""Metrics of the validator, beside those of every service."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

running = Gauge("slipway_running_validations", "Validations that this process holds a lease on.")
attempts = Counter("slipway_validation_attempts", "Attempts, by how they ended.", ["outcome"])
