"""What lifecycle's workers are given."""

from __future__ import annotations

from dataclasses import dataclass

from libs.blobs import Blobs
from libs.db import Pool
from libs.signals import Signals
from services.lifecycle.config import LifecycleConfig
from services.lifecycle.ownership import Ownership


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Lifecycle's clients and settings."""

    config: LifecycleConfig
    pool: Pool
    blobs: Blobs
    signals: Signals
    ownership: Ownership
