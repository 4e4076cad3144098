"""What every route of the gateway is given, as `request.dependencies`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from libs.admission import Slots
from libs.blobs import Blobs
from libs.bus import Bus
from libs.db import Pool
from libs.reads import Reads
from libs.signals import Signals
from services.gateway.config import GatewayConfig
from services.gateway.limits.bodies import Bodies
from services.gateway.uploads.running_digests import RunningDigests

LISTINGS = 8  # of sources, at a time


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The gateway's clients and settings, and what its routes share in this process."""

    pool: Pool
    signals: Signals
    blobs: Blobs
    bus: Bus
    config: GatewayConfig
    stop: asyncio.Event = field(default_factory=asyncio.Event)  # set when this process is to end: stop waiting
    digests: RunningDigests = field(default_factory=RunningDigests)
    reads: Reads = field(init=False)  # of objects, which lifecycle is told of
    downloads: Bodies = field(init=False)  # that are being sent
    incoming: Bodies = field(init=False)  # that are being received
    listings: Slots = field(default_factory=lambda: Slots(LISTINGS, LISTINGS // 4))  # of the sources of imports

    def __post_init__(self) -> None:
        """Make the slots that the settings say."""
        config = self.config
        downloads = Bodies(config.downloads_at_once, config.downloads_at_once_per_project)
        incoming = Bodies(config.uploads_at_once, config.uploads_at_once_per_project)
        object.__setattr__(self, "reads", Reads(wanted=config.s3_cold_url is not None))  # the class is frozen
        object.__setattr__(self, "downloads", downloads)
        object.__setattr__(self, "incoming", incoming)
