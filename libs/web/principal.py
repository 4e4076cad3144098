"""Who sends a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["models", "files", "batches", "inference"]
Role = Literal["member", "admin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls: a key of a project, or the operator."""

    project_id: str
    project_slug: str
    key_id: str
    scopes: frozenset[str] = frozenset()
    role: Role = "member"
    operator: bool = False
