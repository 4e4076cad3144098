"""From limits and use to what the routes answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from services.gateway.config import GatewayConfig
from services.gateway.limits import schemas
from services.gateway.limits.store import Use
from services.gateway.limits.terms import NAMES, OF_KEYS, LimitName, Limits, OwnLimits, default_limits


def of_project(project_id: str, own: OwnLimits, config: GatewayConfig) -> schemas.LimitsOf:
    """The limits of a project."""
    return schemas.LimitsOf(project_id=project_id, key_id=None, limits=_limits(own, NAMES, defaults(config)))


def of_key(project_id: str, key_id: str, own: OwnLimits) -> schemas.LimitsOf:
    """The limits that a key has beside those of its project."""
    nothing: dict[LimitName, int | None] = dict.fromkeys(NAMES)
    return schemas.LimitsOf(project_id=project_id, key_id=key_id, limits=_limits(own, OF_KEYS, nothing))


def defaults(config: GatewayConfig) -> dict[LimitName, int | None]:
    """What holds for a project that has no limits of its own."""
    by_setting = default_limits(config)
    return {
        **{name: getattr(by_setting, name) for name in NAMES},
        "bodies_at_once": config.uploads_at_once_per_project,
        "upload_bytes": config.max_model_bytes,
    }


def _limits(
    own: OwnLimits, names: Sequence[LimitName], default: dict[LimitName, int | None]
) -> dict[LimitName, schemas.Limit]:
    def one(name: LimitName) -> schemas.Limit:
        mine = own.get(name)
        shown: int | Literal["none"] | None = "none" if name in own and mine is None else mine
        return schemas.Limit(own=shown, default=default[name], maximum=mine if name in own else default[name])

    return {name: one(name) for name in names}


def used(
    use: dict[LimitName, int], limits: Limits, names: Sequence[LimitName], default: dict[LimitName, int | None]
) -> dict[LimitName, schemas.Used]:
    """How much of each limit is used; `default` holds where `limits` has none."""
    maximum = {name: getattr(limits, name) for name in names}
    return {
        name: schemas.Used(used=use[name], limit=default.get(name) if maximum[name] is None else maximum[name])
        for name in names
    }


def of_limits(use: Use, *, requests: int, bodies: int, validating: int) -> dict[LimitName, int]:
    """What a project uses, by the name of the limit."""
    return {
        "requests_per_second": requests,
        "bodies_at_once": bodies,
        "open_uploads": use.open_uploads,
        "stored_bytes": use.stored_bytes + use.reserved_bytes,
        "models": use.models,
        "upload_bytes": 0,
        "validations_at_once": validating,
    }
