"""What the routes of the catalog decode and answer, as the documents name their fields. Sizes are in bytes."""

from __future__ import annotations

from msgspec import Struct, field


class Shared(Struct, frozen=True, kw_only=True):
    """A model that was put into the catalog."""

    model_id: str = field(name="modelId")  # this and others as the documents spell them
    shared: bool = True
    shared_at: str = field(name="sharedAt")


class Unshared(Struct, frozen=True, kw_only=True):
    """A model that was taken out of the catalog."""

    model_id: str = field(name="modelId")
    shared: bool = False
    unshared_at: str = field(name="unsharedAt")
