"""What every route of the gateway is given, as `request.dependencies`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from libs.admission import Slots
from libs.blobs import Blobs
from libs.bus import Bus
from libs.db import Pool
from libs.signals import Signals
from services.gateway.config import GatewayConfig
from services.gateway.uploads.running_digests import RunningDigests


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The gateway's clients and settings."""

    pool: Pool
    signals: Signals
    blobs: Blobs
    bus: Bus
    config: GatewayConfig
    downloads: Slots = field(default_factory=lambda: Slots(128, 32))  # bodies being sent, by project
    incoming: Slots = field(default_factory=lambda: Slots(128, 32))  # bodies being received, by project
    digests: RunningDigests = field(default_factory=RunningDigests)
    stop: asyncio.Event = field(default_factory=asyncio.Event)  # set when this process is to end: stop waiting
