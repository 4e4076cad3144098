"""What the routes of the catalog decode and answer, as the documents name their fields. Sizes are in bytes."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from libs.contracts import MemoryNeed

Text = Annotated[
    str,
    Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)", description="without control characters"),
]


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


class ListCatalog(Struct, frozen=True, kw_only=True):
    """Which models, and which page. `q` is looked for in name, architecture and description, in any case."""

    q: Text | None = None
    architecture: Text | None = None
    workload_type: Text | None = None
    format: Text | None = None
    quantization: Text | None = None
    owner: Text | None = None  # the slug of a project
    after: Text | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class CatalogModel(Struct, frozen=True, kw_only=True):
    """A model that any project may use; `owner` is the slug of the project that shares it."""

    id: str
    object: Literal["model"] = "model"
    name: str
    version: str
    owner: str
    description: str | None
    license: str | None
    architecture: str | None
    quantization: str | None
    format: str | None
    context_length: int | None
    parameter_count: int | None
    workload_type: str
    size_bytes: int
    size_formatted: str
    memory: MemoryNeed | None
    deployable: bool | None  # whether vLLM can serve it
    catalog_role: str | None
    deployment_count: int
    featured: bool
    shared_at: str


class CatalogPage(Struct, frozen=True, kw_only=True):
    """One page of the catalog, the last shared first."""

    data: list[CatalogModel]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class CatalogInfo(Struct, frozen=True, kw_only=True):
    """What a model is in the catalog."""

    id: str
    catalog_role: str | None
    deployment_count: int
    is_on_shared_agents: bool = False  # every project has agents of its own
    is_public: bool = True
    featured: bool
    shared_at: str
