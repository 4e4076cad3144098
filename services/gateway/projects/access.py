"""What a key may do: the scopes and the role of a project's key, the features of its project, the operator's key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Final, Literal, get_args

from libs.errors import FeatureNotEnabled, Forbidden, NotFound, ScopeRequired
from libs.web import Principal, SecurityScheme
from services.gateway.limits.terms import UNLIMITED, Limits

# A scope without a colon has both halves in it, where there are any.
Scope = Literal["models", "models:read", "models:write", "files", "files:read", "files:write", "batches", "inference"]
Role = Literal["member", "admin"]
Feature = Literal["model_sharing"]  # what the operator switches on for a project; off for a new one

ALL_SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
WHOLE_SCOPES: Final[tuple[Scope, ...]] = tuple(scope for scope in ALL_SCOPES if ":" not in scope)
ALL_FEATURES: Final[tuple[Feature, ...]] = get_args(Feature)

_IN_WORDS: Final[dict[Feature, str]] = {"model_sharing": "Model sharing"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectKey(Principal):
    """A key of a project, as a request presents it."""

    scopes: frozenset[Scope]
    role: Role = "member"  # of the key, or of its member where that is less
    features: frozenset[str] = frozenset()  # of the project; also some that only the next release knows
    limits: Limits = UNLIMITED  # of the project
    key_limits: Limits = UNLIMITED  # of the key, beside those

    def has(self, scope: Scope) -> bool:
        """Whether the key has `scope`, by itself or in the whole of which it is a half."""
        return scope in self.scopes or scope.partition(":")[0] in self.scopes


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator(Principal):
    """The operator of this installation."""

    key_id: str = "operator"


@dataclass(frozen=True, slots=True)
class ProjectAccess:
    """Lets a key of the project through that has `scope`; None: any key of the project.

    With `feature`, only if the project has it; with `role`, only a key of that role. Refusals come in this order.
    """

    scope: Scope | None
    _: KW_ONLY
    feature: Feature | None = None
    role: Literal["admin"] | None = None

    scheme = SecurityScheme("key", "A key of a project: xero_{slug}_{secret}.")

    @property
    def scopes(self) -> Sequence[str]:
        """`scope`, `feature` and `role`, those that there are: "models", "feature:model_sharing", "role:admin"."""
        needed = [self.scope, self.feature and f"feature:{self.feature}", self.role and f"role:{self.role}"]
        return [each for each in needed if each]

    def authorize(self, principal: Principal, project_id: str | None) -> None:
        """Return if `principal` may call the route.

        Raises: Forbidden for the operator's key; NotFound for the path of any other project; ScopeRequired;
        FeatureNotEnabled; Forbidden for a key of another role.
        """
        if not isinstance(principal, ProjectKey):
            raise Forbidden("The operator's key opens /admin only; use a key of the project.", retryable=False)
        if project_id is not None and project_id != principal.project_id:
            raise NotFound
        if self.scope is not None and not principal.has(self.scope):
            raise ScopeRequired(f"This key lacks the scope '{self.scope}', which this route needs.", retryable=False)
        if self.feature is not None and self.feature not in principal.features:
            raise FeatureNotEnabled(
                f"{_IN_WORDS[self.feature]} is not enabled for this project. Ask the operator of this installation: "
                f"slipway admin features enable {principal.project_id} {self.feature}",
                retryable=False,
            )
        if self.role is not None and self.role != principal.role:
            raise Forbidden(
                f"This needs a key with the role '{self.role}'; yours has '{principal.role}'. Use a key of an admin of "
                "the project.",
                retryable=False,
            )


@dataclass(frozen=True, slots=True)
class OperatorAccess:
    """Lets only the operator's key through."""

    scheme = SecurityScheme("operator", "The operator's key.")
    scopes: Sequence[str] = ()

    def authorize(self, principal: Principal, project_id: str | None) -> None:
        """Raises: Forbidden for a key of a project."""
        if not isinstance(principal, Operator):
            raise Forbidden("Only the operator's key may do that.", retryable=False)


READ_MODELS: Final = ProjectAccess("models:read")
WRITE_MODELS: Final = ProjectAccess("models:write")
SHARE_MODELS: Final = ProjectAccess("models:write", feature="model_sharing", role="admin")
ANY_KEY: Final = ProjectAccess(None)
OPERATOR: Final = OperatorAccess()
