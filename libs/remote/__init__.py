"""Object stores that are not ours: listing a folder, and reading ranges of what is in it.

location     what clients write, and what it means
credentials  by which a store is read, and their sealed form
endpoints    which addresses may be reached at all
transport    requests, and what the answers mean
store        the interface; s3 and azure implement it
"""

from libs.remote.credentials import AzureCredentials, Credentials, S3Credentials
from libs.remote.endpoints import Endpoints
from libs.remote.errors import (
    EndpointNotAllowed,
    SourceChanged,
    SourceDenied,
    SourceMissing,
    SourceRefused,
    SourceUnavailable,
)
from libs.remote.location import Location
from libs.remote.opening import open_store
from libs.remote.store import RemoteObject, Store

__all__ = [
    "AzureCredentials",
    "Credentials",
    "EndpointNotAllowed",
    "Endpoints",
    "Location",
    "RemoteObject",
    "S3Credentials",
    "SourceChanged",
    "SourceDenied",
    "SourceMissing",
    "SourceRefused",
    "SourceUnavailable",
    "Store",
    "open_store",
]
