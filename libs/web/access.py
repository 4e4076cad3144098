"""Who sends a request, and whether a route lets them: the interface that a service implements with rules of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from libs.errors import SlipwayError


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who sends a request; a service has subclasses that say what each may do."""

    project_id: str = ""  # empty: of no project
    project_slug: str = ""
    key_id: str = ""  # for logs; never the key itself


PUBLIC: Final = None  # the access of a route that needs no token
ANONYMOUS: Final = Principal()  # who calls a public route


@dataclass(frozen=True, slots=True)
class SecurityScheme:
    """A kind of bearer token, as the OpenAPI document lists it."""

    name: str
    description: str


class Access(Protocol):
    """What a route requires of the principal who calls it."""

    @property
    def scheme(self) -> SecurityScheme:
        """The kind of token that it takes."""

    @property
    def scopes(self) -> Sequence[str]:
        """The scopes that the token has to have, as the OpenAPI document shows them."""

    def authorize(self, principal: Principal, project_id: str | None) -> None:
        """Return if `principal` may call the route; `project_id` is that of the path, None for a path without one.

        Raises: Forbidden or another error of `libs.errors` if not.
        """


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a request is let through beside what its route requires, and what its response says about that."""

    headers: Mapping[str, str] = field(default_factory=dict)
    refusal: SlipwayError | None = None  # raised before the route is asked, and before any of the body is read
