"""Authentication: from a bearer token to the principal whose key it is."""

from __future__ import annotations

import asyncio
import hmac

from libs.db import Pool, connection
from libs.errors import Unauthenticated
from libs.web import Authenticate, Principal
from services.gateway.limits.terms import UNLIMITED, Limits, with_own
from services.gateway.projects import store
from services.gateway.projects.access import Operator, ProjectKey
from services.gateway.projects.identifiers import digest_of


def authenticate_by(pool: Pool, operator_key: str, default_limits: Limits = UNLIMITED) -> Authenticate:
    """The check that every route with a key goes through. `default_limits` are those of a project without its own.

    No cache: a key that is revoked is refused from the next request on. What is compared are digests, so that the time
    it takes tells nothing of a key.
    """
    operator_digest = digest_of(operator_key)
    holders = _Holders(pool)

    async def authenticate(token: str) -> Principal:
        """Raises: Unauthenticated, with one message for no, unknown, expired and revoked keys; Unavailable."""
        digest = digest_of(token)
        if hmac.compare_digest(digest, operator_digest):
            return Operator()
        holder = await holders.find(digest)
        if holder is None:
            raise Unauthenticated
        return ProjectKey(
            project_id=holder.project_id,
            project_slug=holder.slug,
            key_id=holder.key_id,
            scopes=frozenset(holder.scopes),
            role=holder.role,
            features=frozenset(holder.features),
            limits=with_own(default_limits, holder.limits),
            key_limits=with_own(UNLIMITED, holder.key_limits),
        )

    return authenticate


class _Holders:
    """Looks up the keys of all requests that wait at a time by one statement, begun after each of them came in."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: dict[bytes, asyncio.Future[store.Holder | None]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def find(self, digest: bytes) -> store.Holder | None:
        """Who holds the key with this digest, if anybody does. Raises: Unavailable."""
        found = self._waiting.get(digest)
        if found is None:
            found = self._waiting[digest] = asyncio.get_running_loop().create_future()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="keys")
        return await asyncio.shield(found)  # others may wait for it too

    async def _look(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, {}
            try:
                async with connection(self._pool) as tx:
                    known = await store.holders(tx, list(asked))
            except BaseException as error:
                for future in asked.values():
                    future.set_exception(error)
                    future.exception()  # whoever waited may have gone
                if not isinstance(error, Exception):
                    raise
            else:
                for digest, future in asked.items():
                    future.set_result(known.get(digest))
