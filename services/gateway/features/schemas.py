"""Answers of the operator's routes for features. Times are RFC 3339."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from services.gateway.projects.access import Feature


class ProjectFeature(Struct, frozen=True, kw_only=True):
    """A feature, on or off for one project."""

    feature: Feature
    enabled: bool
    enabled_at: str | None


class FeatureList(Struct, frozen=True, kw_only=True):
    """Every feature that there is, on or off."""

    data: list[ProjectFeature]
    object: Literal["list"] = "list"
    has_more: bool = False
