"""The body of the operator's route that deletes a project."""

from __future__ import annotations

from msgspec import Struct


class DeleteProject(Struct, frozen=True, kw_only=True):
    """POST /admin/v1/projects/{id}/delete."""

    confirm: str  # the project's name, since nothing brings it back
