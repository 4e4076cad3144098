"""Puts the gateway together; the only place that creates clients."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from libs.reads import PUBLISH_EVERY_S
from libs.service import Service, connect, open_blobs
from libs.web import BodyLimits, make_app
from services.gateway.config import GatewayConfig
from services.gateway.dependencies import Dependencies
from services.gateway.handlers import handlers
from services.gateway.limits.rate import Rates
from services.gateway.limits.terms import default_limits
from services.gateway.projects.authentication import authenticate_by
from services.gateway.routes import ROUTES
from services.gateway.sweepers import sweep
from services.gateway.uploads.progress import SUBJECT, WRITE_EVERY_S, Progress

MIGRATIONS = Path(__file__).parent / "migrations"


async def build(config: GatewayConfig, service: Service) -> None:
    """The public API over the registry, and the handlers and sweepers that keep the registry up to date."""
    blobs = await service.enter(open_blobs(config))
    shared = await connect(service, MIGRATIONS, handlers)
    dependencies = Dependencies(shared.pool, shared.signals, blobs, shared.bus, config, stop=service.stop)
    progress = Progress(shared.pool)
    await service.enter(shared.bus.listen(SUBJECT, progress.receive, group="gateway"))
    service.repeat("progress", WRITE_EVERY_S, progress.write)
    if config.s3_cold_url is not None:
        service.repeat("reads", PUBLISH_EVERY_S, partial(dependencies.reads.publish, shared.bus))
    service.repeat("sweepers", config.sweep_interval_s, partial(sweep, shared.pool, config))
    service.ready("s3", blobs.ping, required=False)  # what needs no bytes goes on without
    service.serve(
        make_app(
            [*ROUTES, *service.health_routes()],
            authenticate=authenticate_by(shared.pool, config.operator_key, default_limits(config)),
            dependencies=dependencies,
            title="Slipway",
            limits=BodyLimits(idle_s=config.body_idle_s, min_rate_bytes_per_s=config.body_min_rate_bytes_per_s),
            admit=Rates(shared.pool).admit,
        )
    )
