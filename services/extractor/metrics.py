"""Metrics of the extractor, beside those of every service."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

open_extractions = Gauge("slipway_open_extractions", "Streams that this process holds a lease on.")
attempts = Counter("slipway_extraction_attempts", "Attempts, by how they ended.", ["outcome"])
unpacked_bytes = Counter("slipway_unpacked_bytes", "Content of files written, by attempts that ended well.")
