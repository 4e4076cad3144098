"""The gateway's table of contents: what each of its resources does about each event."""

from __future__ import annotations

from libs.bus import Handlers
from services.gateway.admin.handlers import handlers as admin
from services.gateway.models.handlers import handlers as models
from services.gateway.uploads.handlers import handlers as uploads

handlers = Handlers("gateway")
handlers.include(uploads)
handlers.include(models)
handlers.include(admin)
