"""The client of the public API: what the package `slipway`, the command line, the demo and the tests use.

async with AsyncClient("http://127.0.0.1:8080/proj_ABC123/v1", "xero_…") as client:
    model = await client.upload("./Qwen3-0.6B", name="Qwen3-0.6B")
    print(model.status)

api        AsyncClient; its resources are in models, catalog, imports, secrets, uploads, projects, operator
blocking/  Client, the same without an event loop
transport  HTTP: repeats, errors
"""

from libs.client.api import AsyncClient
from libs.client.blocking import Client, Items
from libs.client.digests import DigestCache
from libs.client.errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    ClientError,
    ConflictError,
    FieldError,
    LocalProblem,
    ModelRejectedError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RejectedError,
    ServerError,
    Unreachable,
    UploadFailedError,
)
from libs.client.files import FileSlice
from libs.client.local import LocalArchive, LocalDirectory, LocalFile, inspect
from libs.client.model_upload import PARALLEL, ModelUpload, Outcome
from libs.client.paging import AsyncItems
from libs.client.progress import Progress, ProgressCallback, Silent, Step
from libs.client.responses import (
    CatalogInfo,
    CatalogModel,
    Completed,
    DeletedModel,
    ImportBegun,
    Key,
    LimitUse,
    Model,
    ModelFile,
    ModelReport,
    ModelSummary,
    Project,
    Revalidation,
    Secret,
    Session,
    Sharing,
    Usage,
)
from libs.contracts import Finding, MemoryNeed

__all__ = [
    "PARALLEL",
    "ApiError",
    "AsyncClient",
    "AsyncItems",
    "AuthenticationError",
    "BadRequestError",
    "CatalogInfo",
    "CatalogModel",
    "Client",
    "ClientError",
    "Completed",
    "ConflictError",
    "DeletedModel",
    "DigestCache",
    "FieldError",
    "FileSlice",
    "Finding",
    "ImportBegun",
    "Items",
    "Key",
    "LimitUse",
    "LocalArchive",
    "LocalDirectory",
    "LocalFile",
    "LocalProblem",
    "MemoryNeed",
    "Model",
    "ModelFile",
    "ModelRejectedError",
    "ModelReport",
    "ModelSummary",
    "ModelUpload",
    "NotFoundError",
    "Outcome",
    "PermissionDeniedError",
    "Progress",
    "ProgressCallback",
    "Project",
    "RateLimitError",
    "RejectedError",
    "Revalidation",
    "Secret",
    "ServerError",
    "Session",
    "Sharing",
    "Silent",
    "Step",
    "Unreachable",
    "UploadFailedError",
    "Usage",
    "inspect",
]
