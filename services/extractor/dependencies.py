"""What the extractor's parts are given."""

from __future__ import annotations

from dataclasses import dataclass

from libs.blobs import Blobs
from libs.db import Pool
from libs.signals import Signals
from services.extractor.config import ExtractorConfig


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The extractor's clients and settings."""

    config: ExtractorConfig
    pool: Pool
    lease_pool: Pool  # renews leases and nothing else, so that a statement which waits for a connection costs none
    blobs: Blobs
    signals: Signals
