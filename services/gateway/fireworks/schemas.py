"""Bodies and answers as Fireworks documents them; fields that it has and this API does not need are passed over.

Sizes are in bytes, times RFC 3339; whole numbers of 64 bits are texts, as in all of Google's JSON.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

MODEL_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$(?!\n)"

ModelId = Annotated[
    str, Meta(pattern=MODEL_ID, description="a model id of up to 200 letters, digits, '.', '_' and '-'")
]
Size = Annotated[int, Meta(ge=0, le=2**62)]
SizeText = Annotated[str, Meta(pattern=r"^[0-9]{1,18}$(?!\n)", description="a size in bytes, as a number or a text")]


class BaseModelDetails(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a base model consists of."""

    checkpoint_format: str = "HUGGINGFACE"
    world_size: int | str = 1
    huggingface_files: list[str] = []
    parameter_count: str | None = None
    model_type: str | None = None  # the architecture


class NewModel(Struct, frozen=True, kw_only=True, rename="camel"):
    """What its client says of a model."""

    kind: str = "HF_BASE_MODEL"
    base_model_details: BaseModelDetails | None = None
    display_name: str | None = None
    description: str | None = None


class CreateAccountModel(Struct, frozen=True, kw_only=True, rename="camel"):
    """POST models."""

    model_id: ModelId
    model: NewModel = NewModel()


class Condition(Struct, frozen=True, kw_only=True):
    """How it is: OK, ALREADY_EXISTS in the answer to a repeated create, or why it is not READY and what to do."""

    code: str = "OK"
    message: str = ""


class AccountModel(Struct, frozen=True, kw_only=True, rename="camel"):
    """A model."""

    name: str  # accounts/{account}/models/{model}
    display_name: str
    description: str
    create_time: str
    update_time: str
    state: str  # UPLOADING, READY
    status: Condition
    kind: str
    base_model_details: BaseModelDetails
    context_length: int | None = None
    public: bool = False


class ListAccountModels(Struct, frozen=True, kw_only=True, rename="camel"):
    """Which page."""

    page_size: Annotated[int, Meta(ge=0, le=1000)] = 50
    page_token: str = ""


class AccountModels(Struct, frozen=True, kw_only=True, rename="camel"):
    """One page of models, by name; `next_page_token` is empty on the last one."""

    models: list[AccountModel]
    next_page_token: str
    total_size: int


class GetUploadEndpoint(Struct, frozen=True, kw_only=True, rename="camel"):
    """POST models/{model}:getUploadEndpoint: every file by its path, with its size."""

    filename_to_size: Annotated[dict[str, Size | SizeText], Meta(min_length=1)]
    enable_resumable_upload: bool = False


class UploadEndpoint(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where each file is sent, by PUT and without a key."""

    filename_to_signed_urls: dict[str, str]


class ValidateQuery(Struct, frozen=True, kw_only=True, rename="camel"):
    """How strictly the model is checked."""

    skip_hf_config_validation: bool = False
    trust_remote_code: bool = False
    config_only: bool = False


class Nothing(Struct, frozen=True):
    """{}: done."""


Declared = dict[str, Any]  # what the row of a model keeps of NewModel
