"""Uploads a model from disk and waits for its verdict: what `slipway upload` does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from libs.client.archive import ArchiveSender
from libs.client.digests import DigestCache
from libs.client.directory import DirectorySender
from libs.client.errors import ApiError
from libs.client.local import LocalArchive, LocalDirectory
from libs.client.models import DECIDED
from libs.client.progress import Progress, Silent, Step
from libs.client.responses import Completed, Model, ModelReport, Session
from libs.errors import SlipwayError

if TYPE_CHECKING:
    from libs.client.api import AsyncClient

PARALLEL = 4

_WAIT_S = 20  # one bounded wait for completion; then it is asked again
_LOOK_S = 0.5  # between two looks at how far the unpacking is
_MOST_ROUNDS = 3

Stage = Literal["preparing", "sending", "processing", "checking", "done"]


@dataclass(frozen=True)
class Outcome:
    """The result of an upload; `model` and `report` are None if the caller did not wait, or there are none."""

    session_id: str
    resumed: bool
    sent_bytes: int
    kept_bytes: int  # the server had them already
    completed: Completed
    model: Model | None
    report: ModelReport | None
    seconds: dict[str, float]  # prepare, send, complete, validate -> seconds

    @property
    def failed(self) -> bool:
        """The model is there, and in error."""
        return self.model is not None and self.model.status == "error"


class _Count:
    """Turns absolute positions into the increments that a Step takes."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._at = 0

    def is_at(self, amount: int) -> None:
        self._step.advance(amount - self._at)
        self._at = amount

    def ends_at(self, amount: int) -> None:
        if self._at:  # else it was over before anybody looked
            self.is_at(amount)


class ModelUpload:
    """The upload of one model. `stage`, `session_id` and `model_id` say how far it is, also after an interruption."""

    def __init__(
        self,
        api: AsyncClient,
        source: LocalArchive | LocalDirectory,
        name: str,
        *,
        version: str | None = None,
        parallel: int = PARALLEL,
        progress: Progress | None = None,
        digests: DigestCache | None = None,
    ) -> None:
        self.stage: Stage = "preparing"
        self.session_id: str | None = None
        self.model_id: str | None = None
        self._api = api
        self._name = name
        self._version = version
        self._progress = progress or Silent()
        self._seconds: dict[str, float] = {}
        self._sender: ArchiveSender | DirectorySender
        if isinstance(source, LocalArchive):
            self._sender = ArchiveSender(api.uploads, source, parallel, self._progress)
        else:
            self._sender = DirectorySender(api.uploads, source, parallel, self._progress, digests)

    async def run(self, *, wait: bool = True) -> Outcome:
        """Send what is missing, complete, and wait for the verdict unless `wait` is False.

        Raises: ApiError, Unreachable, LocalProblem.
        """
        with self._timed("prepare"):
            await self._sender.prepare()
            resumed = await self._resumed()
            if resumed is None:
                session_id, self.model_id = await self._sender.open(self._name, self._version)
            else:
                session_id, self.model_id = resumed.session_id, resumed.model_id
        self.session_id = session_id
        if resumed is None or resumed.status == "open":
            await self._send(session_id)
        self.stage = "processing"
        completed = await self._completed(session_id, wait)
        self.model_id = completed.model_id
        model = report = None
        if wait:
            self.stage = "checking"
            with self._timed("validate"):
                model = await self._verdict(completed.model_id)
            report = await self._report(model)
        self.stage = "done"
        return Outcome(
            session_id=session_id,
            resumed=resumed is not None,
            sent_bytes=self._sender.sent_bytes,
            kept_bytes=self._sender.kept_bytes,
            completed=completed,
            model=model,
            report=report,
            seconds=self._seconds,
        )

    async def _resumed(self) -> Session | None:
        """The session that an earlier run began, if there is one of the same name, shape and content."""
        for status in ("open", "processing"):
            for listed in await self._api.uploads.list(status=status, model_name=self._name).all():
                if self._version not in (None, listed.version) or not self._sender.fits(listed):
                    continue
                session = await self._api.uploads.get(listed.session_id)
                if session.status == status and await self._sender.resume(session):
                    self._progress.note(f"Resuming upload {session.session_id}.")
                    return session
                self._progress.note(
                    f"Upload {session.session_id} of this name is of other bytes; starting a new one. "
                    f"If nobody needs it: slipway uploads abort {session.session_id}"
                )
        return None

    async def _send(self, session_id: str) -> None:
        self.stage = "sending"
        with self._timed("send"):
            await self._sender.send(session_id)

    async def _completed(self, session_id: str, wait: bool) -> Completed:
        """Complete the upload, sending again what the server says that it has no longer.

        A file that the project had when the upload was opened may be deleted before it is completed.
        """
        for _ in range(_MOST_ROUNDS):
            try:
                with self._timed("complete"):
                    return await self._unpacked(session_id, wait)
            except ApiError as error:
                if error.code != "parts_missing":
                    raise
                missing = error
            if not await self._sender.resume(await self._api.uploads.get(session_id)):
                break
            await self._send(session_id)
        raise missing

    async def _unpacked(self, session_id: str, wait: bool) -> Completed:
        """Ask for completion; with `wait`, stay until it is unpacked, showing how far it is."""
        if not wait:
            return await self._api.uploads.complete(session_id, wait_s=0)
        with self._progress.step("unpacking", 0, "") as step:
            unpacked = _Count(step)
            watcher = asyncio.create_task(self._watch(session_id, unpacked))
            try:
                while True:
                    answer = await self._api.uploads.complete(session_id, wait_s=_WAIT_S)
                    if answer.status != "processing":
                        unpacked.ends_at(answer.total_size or 0)
                        return answer
            finally:
                watcher.cancel()
                await asyncio.wait([watcher])

    async def _watch(self, session_id: str, unpacked: _Count) -> None:
        """Show how many bytes are unpacked, and what the server waits for, until cancelled."""
        waited_for: str | None = None
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                session = await self._api.uploads.get(session_id)
            except SlipwayError:
                continue  # only a look; if it matters, the completion that is waited for meanwhile says so
            if session.extraction is not None:
                unpacked.is_at(session.extraction.bytes)
            waited_for = self._tell_wait(session.waiting_for, waited_for)

    async def _verdict(self, model_id: str) -> Model:
        """The model, once it is ready or in error."""
        pause_s = 0.02  # a verdict on a small model takes less than a tenth of a second
        waited_for: str | None = None
        with self._progress.step("validating", 0, ""):
            while True:
                model = await self._api.models.get(model_id)
                if model.status in DECIDED:
                    return model
                waited_for = self._tell_wait(model.status_reason, waited_for)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 1.3, 1.0)

    def _tell_wait(self, waiting_for: str | None, told: str | None) -> str | None:
        """Print what the server waits for, each reason once. Returns: the reason."""
        if waiting_for and waiting_for != told:
            self._progress.note(f"The server waits, and goes on by itself: {waiting_for}")
        return waiting_for

    async def _report(self, model: Model) -> ModelReport | None:
        try:
            return await self._api.models.report(model.id)
        except ApiError as error:
            if error.status != 404:
                raise
            return None  # in error before it could be read; `status_reason` says why

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[step] = self._seconds.get(step, 0.0) + time.perf_counter() - started
