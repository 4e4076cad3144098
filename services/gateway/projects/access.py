"""What a key may do: the scopes of a project's key, and the operator's key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from libs.errors import Forbidden, NotFound, ScopeRequired
from libs.web import Principal, SecurityScheme
from services.gateway.limits.terms import UNLIMITED, Limits

Scope = Literal["models", "files", "batches", "inference"]
Role = Literal["member", "admin"]  # a property of a key that clients set and see; no route depends on it

ALL_SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectKey(Principal):
    """A key of a project, as a request presents it."""

    scopes: frozenset[Scope]
    limits: Limits = UNLIMITED  # of the project
    key_limits: Limits = UNLIMITED  # of the key, beside those


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator(Principal):
    """The operator of this installation."""

    key_id: str = "operator"


@dataclass(frozen=True, slots=True)
class ProjectAccess:
    """Lets a key of the project through that has `scope`; None: any key of the project."""

    scope: Scope | None

    scheme = SecurityScheme("key", "A key of a project: xero_{slug}_{secret}.")

    @property
    def scopes(self) -> Sequence[str]:
        """`scope`, in a list."""
        return [self.scope] if self.scope else []

    def authorize(self, principal: Principal, project_id: str | None) -> None:
        """Raises: Forbidden for the operator's key; ScopeRequired; NotFound for the path of any other project."""
        if not isinstance(principal, ProjectKey):
            raise Forbidden("The operator's key opens /admin only; use a key of the project.", retryable=False)
        if project_id is not None and project_id != principal.project_id:
            raise NotFound
        if self.scope is not None and self.scope not in principal.scopes:
            raise ScopeRequired(f"This key lacks the scope '{self.scope}', which this route needs.", retryable=False)


@dataclass(frozen=True, slots=True)
class OperatorAccess:
    """Lets only the operator's key through."""

    scheme = SecurityScheme("operator", "The operator's key.")
    scopes: Sequence[str] = ()

    def authorize(self, principal: Principal, project_id: str | None) -> None:
        """Raises: Forbidden for a key of a project."""
        if not isinstance(principal, Operator):
            raise Forbidden("Only the operator's key may do that.", retryable=False)


MODELS: Final = ProjectAccess("models")
ANY_KEY: Final = ProjectAccess(None)
OPERATOR: Final = OperatorAccess()
