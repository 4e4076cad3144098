"""A model's upload begins: with the model, or anew once that has failed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from libs.db import Tx
from libs.web import Request
from services.gateway.dependencies import Dependencies
from services.gateway.fireworks import store
from services.gateway.limits.quotas import demand
from services.gateway.uploads import transitions
from services.gateway.uploads.signatures import new_secret
from services.gateway.uploads.store import uploads
from services.gateway.uploads.store.uploads import Upload


async def begin(
    request: Request[Dependencies], tx: Tx, name: str, declared: dict[str, Any], description: str | None
) -> Upload:
    """Open an upload for the next version of `name`; getUploadEndpoint says how large it is to be.

    The caller has taken `store.lock_name`.
    Raises: QuotaExceeded.
    """
    config = request.dependencies.config
    upload = await transitions.begin(
        tx,
        request.principal.project_id,
        name,
        None,
        kind="signed",
        chunk_size_bytes=config.chunk_size_bytes,
        expires_at=datetime.now(UTC) + timedelta(seconds=config.session_ttl_s),
        wanted=demand(request.principal, 0),
    )
    await uploads.set_secret(tx, upload.id, new_secret())
    await store.declare(tx, upload.model_id, declared, description)
    return upload
