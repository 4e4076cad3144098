"""What the gateway does about each event: the tables of its resources in one."""

from __future__ import annotations

from libs.bus import Handlers
from services.gateway.resources import modules

handlers = Handlers("gateway")
for _module in modules("handlers"):
    handlers.include(_module.handlers)
