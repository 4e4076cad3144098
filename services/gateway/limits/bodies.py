"""Bodies at once: the slots of this gateway, with the limits of the project and of the key whose request it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from libs.admission import RETRY_AFTER_S, Slots
from libs.errors import Overloaded, RateLimited
from libs.web import Principal
from services.gateway.limits.terms import LimitName
from services.gateway.projects.access import ProjectKey

NAME: Final[LimitName] = "bodies_at_once"


class Bodies:
    """The bodies that this gateway has under way in one direction."""

    def __init__(self, total: int, per_project: int) -> None:
        self.slots = Slots(total, per_project)
        self._of_keys = Slots(total)

    def held_by_key(self, key_id: str) -> int:
        """How many bodies of a key with a limit are under way."""
        return self._of_keys.held_by(key_id)

    @asynccontextmanager
    async def take(self, principal: Principal) -> AsyncIterator[None]:
        """Hold a slot within the block.

        Raises: Overloaded, if none becomes free in time; RateLimited, if that is because of a limit of the project or
        the key.
        """
        async with AsyncExitStack() as held:
            of_key = of_project = None
            if isinstance(principal, ProjectKey):
                of_key, of_project = principal.key_limits.bodies_at_once, principal.limits.bodies_at_once
            if of_key is not None:
                await self._take(held, self._of_keys, principal.key_id, of_key, principal)
            await self._take(held, self.slots, principal.project_id, of_project, principal)
            yield

    @staticmethod
    async def _take(held: AsyncExitStack, slots: Slots, tenant: str, at_most: int | None, principal: Principal) -> None:
        try:
            await held.enter_async_context(slots.take(tenant, at_most))
        except Overloaded:
            if at_most is None or slots.held_by(tenant) < at_most:
                raise
            raise _refusal(principal, tenant, at_most) from None


def _refusal(principal: Principal, tenant: str, at_most: int) -> RateLimited:
    of_key = tenant == principal.key_id
    return RateLimited(
        f"{'This key' if of_key else 'This project'} may send or receive {at_most} bodies at once ({NAME}), and "
        f"does. Send it again when one of them has ended; the operator of this installation can raise the limit: "
        f"slipway admin limits set {principal.project_id} {f'--key {tenant} ' if of_key else ''}{NAME}=…",
        retry_after_s=RETRY_AFTER_S,
        details={"limit": NAME, "used": at_most, "requested": 1, "maximum": at_most},
    )
