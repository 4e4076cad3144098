"""Slipway's Python client: upload models, wait until they are verified, and use what the registry knows of them.

    from slipway import Client

    with Client("http://127.0.0.1:8080/proj_ABC123/v1", "xero_…") as client:
        model = client.upload("./Qwen3-0.6B", name="Qwen3-0.6B", progress=print)
        print(model.status, model.architecture, model.parameter_count)

`AsyncClient` has the same calls with `await`, and lists with `async for`. Results are frozen Structs: fields that a
newer server adds are ignored, those that an older one lacks are None. Every error is a `ClientError`, with `message`
(what was wrong and what to do), `status`, `code`, `param` and `request_id`.
"""

from libs.client import (
    ApiError,
    AsyncClient,
    AsyncItems,
    AuthenticationError,
    BadRequestError,
    CatalogInfo,
    CatalogModel,
    Client,
    ClientError,
    ConflictError,
    DeletedModel,
    FieldError,
    Finding,
    ImportBegun,
    Items,
    LimitUse,
    LocalProblem,
    MemoryNeed,
    Model,
    ModelFile,
    ModelRejectedError,
    ModelReport,
    ModelSummary,
    NotFoundError,
    PermissionDeniedError,
    ProgressCallback,
    RateLimitError,
    RejectedError,
    Revalidation,
    Secret,
    ServerError,
    Session,
    Sharing,
    Unreachable,
    UploadFailedError,
    Usage,
)

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncItems",
    "AuthenticationError",
    "BadRequestError",
    "CatalogInfo",
    "CatalogModel",
    "Client",
    "ClientError",
    "ConflictError",
    "DeletedModel",
    "FieldError",
    "Finding",
    "ImportBegun",
    "Items",
    "LimitUse",
    "LocalProblem",
    "MemoryNeed",
    "Model",
    "ModelFile",
    "ModelRejectedError",
    "ModelReport",
    "ModelSummary",
    "NotFoundError",
    "PermissionDeniedError",
    "ProgressCallback",
    "RateLimitError",
    "RejectedError",
    "Revalidation",
    "Secret",
    "ServerError",
    "Session",
    "Sharing",
    "Unreachable",
    "UploadFailedError",
    "Usage",
]
