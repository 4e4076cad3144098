"""Who calls: a bearer token -> a Principal."""

from __future__ import annotations

import hmac

from libs.db import Pool, connection
from libs.errors import Unauthenticated
from libs.web import Authenticate, Principal
from services.gateway.projects import store
from services.gateway.projects.names import digest_of

OPERATOR = Principal(project_id="", project_slug="", key_id="operator", role="admin", operator=True)


def authenticate_by(pool: Pool, operator_key: str) -> Authenticate:
    """The check that every route with a key goes through.

    One indexed read a request and no cache: a key that is revoked is refused from the next request on. What is
    compared are digests, so that the time it takes tells nothing of a key.
    """
    operator_digest = digest_of(operator_key)

    async def authenticate(token: str) -> Principal:
        """Raises: Unauthenticated, with one message for no, unknown, expired and revoked keys; Unavailable."""
        digest = digest_of(token)
        if hmac.compare_digest(digest, operator_digest):
            return OPERATOR
        async with connection(pool) as tx:
            holder = await store.holder(tx, digest)
        if holder is None:
            raise Unauthenticated
        return Principal(
            project_id=holder.project_id,
            project_slug=holder.slug,
            key_id=holder.key_id,
            scopes=frozenset(holder.scopes),
            role=holder.role,
        )

    return authenticate
