"""Models that are copied from other object stores."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from libs.client.errors import UploadFailedError
from libs.client.models import PATIENCE_S, Models
from libs.client.progress import Progress, ProgressCallback, reported
from libs.client.responses import ImportBegun, Model, Session
from libs.client.uploads import Uploads
from libs.contracts import new_id

if TYPE_CHECKING:
    from libs.client.transport import Transport

_LOOK_S = 0.5  # between two looks at how much is copied
_ENDED = frozenset({"failed", "aborted", "expired"})


class Imports:
    """`uploads/import` of the public API: the server copies a model, no byte passes this client."""

    def __init__(self, transport: Transport, uploads: Uploads, models: Models) -> None:
        self._transport = transport
        self._uploads = uploads
        self._models = models

    async def create(
        self,
        source: str,
        *,
        name: str,
        version: str | None = None,
        secret: str | None = None,
        endpoint: str | None = None,
        region: str | None = None,
    ) -> ImportBegun:
        """Begin to copy a model from `source`: s3://BUCKET/FOLDER, or an Azure container's URL with its folder.

        `secret`: the name of one of the project's secrets; without, the source is public. `endpoint` and `region`: of a
        store other than Amazon's or Azure's own. The same `name` again makes a new version.
        Raises: BadRequestError if the source cannot be read, saying why; PermissionDeniedError.
        """
        given = {"version": version, "secret": secret, "endpoint": endpoint, "region": region}
        body = {"model_name": name, "source": source} | {field: value for field, value in given.items() if value}
        headers = {"Idempotency-Key": new_id()}
        return await self._transport.call(
            "POST", "uploads/import", ImportBegun, json=body, headers=headers, patience_s=PATIENCE_S
        )

    async def wait(
        self, session_id: str, *, progress: ProgressCallback | None = None, timeout_s: float | None = None
    ) -> Model:
        """Return the model as soon as it is copied and ready. `progress(done_bytes, total_bytes)`: of the copying.

        Raises: UploadFailedError if it cannot be copied; ModelRejectedError if it is in error; TimeoutError after
        `timeout_s` seconds, where that is given.
        """

        async def run(shown: Progress) -> Model:
            return await self.follow(session_id, shown)

        async with asyncio.timeout(timeout_s):
            return await reported(progress, "copying", run)

    async def follow(self, session_id: str, shown: Progress) -> Model:
        """Wait as `wait` does, and show the steps "copying" and "validating", and what the server waits for."""
        session = await self._uploads.get(session_id)
        done, told = 0, None
        with shown.step("copying", _total_bytes(session), "bytes") as step:
            while session.status == "processing":
                copied = session.extraction.bytes if session.extraction else 0
                step.advance(copied - done)
                done = copied
                if session.waiting_for and session.waiting_for != told:
                    told = session.waiting_for
                    shown.note(f"The server waits, and goes on by itself: {told}")
                await asyncio.sleep(_LOOK_S)
                session = await self._uploads.get(session_id)
            if session.status in _ENDED:
                raise UploadFailedError(session)
            step.advance(_total_bytes(session) - done)
        with shown.step("validating", 0, ""):
            return await self._models.wait(session.model_id)


def _total_bytes(session: Session) -> int:
    return sum(file.size for file in session.files or ())
