"""`python -m services.gateway`."""

from libs.service import run
from services.gateway.app import build
from services.gateway.config import GatewayConfig

run("gateway", GatewayConfig, build)
