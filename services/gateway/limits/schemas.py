"""Bodies and answers of limits and of usage. Sizes are in bytes."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from services.gateway.limits.terms import LimitName

_MOST = 2**62
_Positive = Annotated[int, Meta(ge=1, le=_MOST)]
_Validations = Annotated[int, Meta(ge=1, le=2**31 - 1)]
_Any = Annotated[int, Meta(ge=0, le=_MOST)]
_Own = Literal["none"] | None | UnsetType  # no limit; the installation's default; as it is


class ChangeLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PATCH …/limits: a number, "none" for no limit, or null for the default; what is not named stays as it is."""

    requests_per_second: _Positive | _Own = UNSET
    bodies_at_once: _Positive | _Own = UNSET
    open_uploads: _Any | _Own = UNSET
    stored_bytes: _Any | _Own = UNSET
    models: _Any | _Own = UNSET
    upload_bytes: _Positive | _Own = UNSET
    validations_at_once: _Validations | _Own = UNSET


class Limit(Struct, frozen=True, kw_only=True):
    """One limit of a project or a key."""

    own: int | Literal["none"] | None  # null: it has none of its own
    default: int | None  # null: no limit
    maximum: int | None  # what holds; null: no limit


class LimitsOf(Struct, frozen=True, kw_only=True):
    """The limits of a project; with `key_id`, those that one of its keys has beside them."""

    project_id: str
    key_id: str | None
    limits: dict[LimitName, Limit]
    object: Literal["limits"] = "limits"


class Used(Struct, frozen=True, kw_only=True):
    """How much of one limit is used."""

    used: int
    limit: int | None  # null: no limit


class Usage(Struct, frozen=True, kw_only=True):
    """What a project uses, and its limits; `key` has those of the calling key, where it has any."""

    project_id: str
    stored_bytes: int  # each content once
    reserved_bytes: int  # for uploads that have not ended
    objects: int
    models: int  # versions
    validating: int  # models that wait for their verdict
    restorable_models: int  # of `models`, those that were deleted and can still be restored
    restorable_bytes: int  # the sizes of these; stored until they are erased, but for what other models share
    limits: dict[LimitName, Used]  # `stored_bytes` with what is reserved; `bodies_at_once` of the answering gateway
    key: dict[LimitName, Used]
    object: Literal["usage"] = "usage"
