"""The limits of what a project keeps, checked where an upload is opened; and the error of what is refused."""

from __future__ import annotations

import msgspec

from libs.contracts import Finding, findings
from libs.db import Tx
from libs.errors import QuotaExceeded
from libs.web import Principal
from services.gateway.limits import store
from services.gateway.limits.terms import UNLIMITED, LimitName, Limits
from services.gateway.presentation import size_in_words
from services.gateway.projects.access import ProjectKey


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What an upload that is to be opened asks of the limits of whoever opens it."""

    size_bytes: int  # of the upload
    new_bytes: int  # of it, to be stored: less than all where the project has some files already
    limits: Limits = UNLIMITED  # of the project
    key_id: str | None = None
    key_limits: Limits = UNLIMITED


def demand(principal: Principal, size_bytes: int, new_bytes: int | None = None) -> Demand:
    """The demand of an upload of `size_bytes`, all of which are new unless `new_bytes` says less."""
    new_bytes = size_bytes if new_bytes is None else new_bytes
    if not isinstance(principal, ProjectKey):
        return Demand(size_bytes=size_bytes, new_bytes=new_bytes)
    return Demand(
        size_bytes=size_bytes,
        new_bytes=new_bytes,
        limits=principal.limits,
        key_id=principal.key_id,
        key_limits=principal.key_limits,
    )


async def require_room(tx: Tx, project_id: str, wanted: Demand) -> None:
    """Return if the project and the key may open one more upload, which `wanted` describes.

    Where there are limits, openings of one project take turns until their transactions end, so that no two of them
    count on the same room.
    Raises: QuotaExceeded.
    """
    ours, keys = wanted.limits, wanted.key_limits
    _require(project_id, None, "upload_bytes", ours.upload_bytes, used=0, requested=wanted.size_bytes)
    _require(project_id, wanted.key_id, "upload_bytes", keys.upload_bytes, used=0, requested=wanted.size_bytes)
    if (ours.open_uploads, ours.stored_bytes, ours.models, keys.open_uploads) == (None, None, None, None):
        return
    await store.take_turn(tx, project_id)
    use = await store.use_of(tx, project_id, wanted.key_id)
    _require(project_id, None, "open_uploads", ours.open_uploads, used=use.open_uploads, requested=1)
    _require(project_id, wanted.key_id, "open_uploads", keys.open_uploads, used=use.open_uploads_of_key, requested=1)
    _require(project_id, None, "models", ours.models, used=use.models, requested=1)
    used_bytes = use.stored_bytes + use.reserved_bytes
    _require(project_id, None, "stored_bytes", ours.stored_bytes, used=used_bytes, requested=wanted.new_bytes)


async def require_room_for_bytes(tx: Tx, project_id: str, wanted: Demand) -> None:
    """Return if an upload that is open already may bring as much as `wanted` says, `new_bytes` more than is reserved.

    Raises: QuotaExceeded.
    """
    only_bytes = msgspec.structs.replace(
        wanted,
        limits=msgspec.structs.replace(wanted.limits, open_uploads=None, models=None),
        key_limits=msgspec.structs.replace(wanted.key_limits, open_uploads=None),
    )
    await require_room(tx, project_id, only_bytes)


async def too_much(tx: Tx, project_id: str, maximum: int, more_bytes: int) -> Finding | None:
    """The finding for an upload that needs `more_bytes` than are reserved for it, as an unpacked archive may, if the
    project may not store that many.
    """
    if more_bytes <= 0:
        return None
    await store.take_turn(tx, project_id)
    use = await store.use_of(tx, project_id)
    used = use.stored_bytes + use.reserved_bytes
    if used + more_bytes <= maximum:
        return None
    return findings.error(
        "quota-exceeded",
        f"this project may store {size_in_words(maximum)} (stored_bytes), {size_in_words(used)} are stored or reserved "
        f"with what this upload announced, and unpacked it needs {size_in_words(more_bytes)} more.",
        "Delete models, then upload it again; or ask the operator of this installation to raise the limit: slipway "
        f"admin limits set {project_id} stored_bytes={used + more_bytes}",
    )


_TEXTS: dict[LimitName, str] = {
    "open_uploads": "{who} may have {maximum} uploads that have not ended (open_uploads), and has {used}. Complete or "
    "abort one",
    "models": "{who} may have {maximum} versions of models (models), and has {used}, with those that were deleted and "
    "can still be restored. Delete some",
    "stored_bytes": "{who} may store {maximum} (stored_bytes). {used} are stored or reserved for uploads that have not "
    "ended, with what was deleted and can still be restored, and this upload needs {requested} more. Delete models, or "
    "abort uploads",
    "upload_bytes": "An upload of {whose} may have {maximum} (upload_bytes), and this one has {requested}. Send a "
    "smaller model",
}


def _require(
    project_id: str, key_id: str | None, name: LimitName, maximum: int | None, *, used: int, requested: int
) -> None:
    """Raises: QuotaExceeded, if `requested` beside `used` are more than `maximum`."""
    if maximum is None or requested == 0 or used + requested <= maximum:
        return
    shown = size_in_words if name.endswith("_bytes") else str
    kind = "key" if key_id else "project"
    message = _TEXTS[name].format(
        who=f"This {kind}", whose=f"this {kind}", maximum=shown(maximum), used=shown(used), requested=shown(requested)
    )
    of_key = f"--key {key_id} " if key_id else ""
    raise QuotaExceeded(
        f"{message}; or the operator of this installation can raise the limit: slipway admin limits set {project_id} "
        f"{of_key}{name}={used + requested}",
        retryable=False,
        details={"limit": name, "used": used, "requested": requested, "maximum": maximum},
    )
