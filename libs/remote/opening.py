"""Opens a store of any kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from libs.remote.azure import AzureStore
from libs.remote.credentials import AzureCredentials, Credentials, S3Credentials
from libs.remote.endpoints import Endpoints
from libs.remote.errors import SourceRefused
from libs.remote.location import Location
from libs.remote.s3 import S3Store
from libs.remote.store import Store
from libs.remote.transport import Transport


@asynccontextmanager
async def open_store(
    endpoints: Endpoints, location: Location, secret: str | None = None, credentials: Credentials | None = None
) -> AsyncIterator[Store]:
    """The store of `location`, read with `credentials`, the project's secret of that name; without, anonymously.

    Raises: SourceRefused for credentials of another kind of store.
    """
    async with Transport.open(endpoints) as transport:
        if location.kind == "azure":
            if isinstance(credentials, S3Credentials):
                raise SourceRefused(f"The secret '{secret}' is for S3, and the source is in Azure.", param="secret")
            yield AzureStore(transport, location, secret, credentials)
        else:
            if isinstance(credentials, AzureCredentials):
                raise SourceRefused(f"The secret '{secret}' is for Azure, and the source is in S3.", param="secret")
            yield S3Store(transport, location, secret, credentials)
