"""What every route is given as `call.state`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from libs.blobs import Blobs
from libs.db import Pool
from libs.signals import Signals
from services.gateway.config import GatewayConfig
from services.gateway.uploads.incoming.digests import RunningDigests


@dataclass(frozen=True, slots=True)
class Gateway:
    """The gateway's clients and settings."""

    pool: Pool
    signals: Signals
    blobs: Blobs
    config: GatewayConfig
    digests: RunningDigests = field(default_factory=RunningDigests)
    stop: asyncio.Event = field(default_factory=asyncio.Event)  # set when this process is to end: stop waiting
