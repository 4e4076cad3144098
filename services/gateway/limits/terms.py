"""What can be limited, by name, and the settings that are the defaults of projects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

import msgspec

from services.gateway.config import GatewayConfig

LimitName = Literal[
    "requests_per_second",
    "bodies_at_once",
    "open_uploads",
    "stored_bytes",
    "models",
    "upload_bytes",
    "validations_at_once",
]

NAMES: Final[tuple[LimitName, ...]] = get_args(LimitName)
OF_KEYS: Final[tuple[LimitName, ...]] = ("requests_per_second", "bodies_at_once", "open_uploads", "upload_bytes")
ALWAYS: Final[dict[LimitName, str]] = {  # never without a limit: the setting that holds where a project has none
    "bodies_at_once": "SLIPWAY_UPLOADS_AT_ONCE_PER_PROJECT",
    "upload_bytes": "SLIPWAY_MAX_MODEL_BYTES",
}

OwnLimits = Mapping[str, int | None]  # a name that is not there: the default; None: no limit


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a project or a key may use at most. None: no limit, or for those in ALWAYS, the one of the settings."""

    requests_per_second: int | None = None
    bodies_at_once: int | None = None  # in each direction, of one gateway
    open_uploads: int | None = None  # that have not ended
    stored_bytes: int | None = None  # and reserved for uploads that have not ended
    models: int | None = None  # versions, with those that can still be restored
    upload_bytes: int | None = None  # of one upload, as it is announced
    validations_at_once: int | None = None  # the validator keeps it


UNLIMITED: Final = Limits()


def default_limits(config: GatewayConfig) -> Limits:
    """The limits of a project that has none of its own."""
    return Limits(
        requests_per_second=config.requests_per_second_per_project,
        open_uploads=config.open_uploads_per_project,
        stored_bytes=config.stored_bytes_per_project,
        models=config.models_per_project,
    )


def with_own(default: Limits, own: OwnLimits) -> Limits:
    """`default` with the limits that somebody has of their own; names that only the next release knows do not count."""
    known = {name: own[name] for name in NAMES if name in own}
    return msgspec.structs.replace(default, **known) if known else default
