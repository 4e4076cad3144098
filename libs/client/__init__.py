"""The async client of the public API: what the command line, the demo and the tests use.

async with Slipway("http://127.0.0.1:8080/proj_ABC123/v1", "xero_…") as api:
    outcome = await ModelUpload(api, inspect(Path("./Qwen3-0.6B")), "Qwen3-0.6B").run()
    print(outcome.model.status)
"""

from libs.client.api import Slipway
from libs.client.digests import DigestCache
from libs.client.errors import ApiError, LocalProblem, Unreachable
from libs.client.files import FileSlice
from libs.client.local import LocalArchive, LocalDirectory, LocalFile, inspect
from libs.client.model_upload import PARALLEL, ModelUpload, Outcome
from libs.client.progress import Progress, Silent, Step
from libs.client.responses import (
    Completed,
    Key,
    Model,
    ModelFile,
    ModelReport,
    ModelSummary,
    Project,
    Session,
)

__all__ = [
    "PARALLEL",
    "ApiError",
    "Completed",
    "DigestCache",
    "FileSlice",
    "Key",
    "LocalArchive",
    "LocalDirectory",
    "LocalFile",
    "LocalProblem",
    "Model",
    "ModelFile",
    "ModelReport",
    "ModelSummary",
    "ModelUpload",
    "Outcome",
    "Progress",
    "Project",
    "Session",
    "Silent",
    "Slipway",
    "Step",
    "Unreachable",
    "inspect",
]
