"""docs/openapi.json: what the gateway serves at /openapi.json."""

from __future__ import annotations

import json

from libs.service import Service
from libs.web.openapi import openapi_document
from services.gateway.config import GatewayConfig
from services.gateway.routes import ROUTES

_NOWHERE = GatewayConfig(database_url="", nats_url="", s3_url="", operator_key="")  # nothing is connected to


def openapi_json() -> str:
    """The document of the gateway's routes, indented, so that differences between commits can be read."""
    health = Service("gateway", _NOWHERE).health_routes()
    return json.dumps(openapi_document([*ROUTES, *health], "Slipway"), indent=2, ensure_ascii=False) + "\n"
