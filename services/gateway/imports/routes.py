"""The route of imports."""

from __future__ import annotations

from datetime import UTC, datetime

from libs.db import Tx, connection
from libs.errors import Invalid
from libs.outbox import emit
from libs.remote import Credentials, Endpoints, Location
from libs.remote.credentials import unseal
from libs.remote.location import parse
from libs.sealing import CannotUnseal, Keys
from libs.web import Request, Response, Route
from services.gateway.dependencies import Dependencies
from services.gateway.imports import schemas, transitions
from services.gateway.imports.listing import Listing, list_source
from services.gateway.limits.quotas import demand
from services.gateway.projects.access import WRITE_MODELS
from services.gateway.secrets import store as secrets
from services.gateway.uploads import responses
from services.gateway.uploads.routes.opening import answered_before, begin, once, require_fit
from services.gateway.uploads.store.uploads import Upload


async def open_import(request: Request[Dependencies]) -> Response:
    """Begin to copy a model from another object store: 202, and where to look.

    The source is listed before anything is recorded, and nothing is copied that lacks what a model needs.
    Emits: UploadOpened for each file, UploadCompleted.
    Raises: Invalid; PathRejected; FilesMissing; QuotaExceeded; Conflict if the version exists.
    """
    body: schemas.CreateImport = request.body
    begun = await answered_before(request, schemas.ImportBegun)
    if begun is None:
        location = parse(body.source, body.endpoint, body.region)
        listing = await _listed(request, location)
        wanted = demand(request.principal, listing.size_bytes)
        require_fit(wanted, request.dependencies.config.max_model_bytes, param="source")

        async def open_upload(tx: Tx) -> schemas.ImportBegun:
            now = datetime.now(UTC)
            if body.secret is not None and not await secrets.mark_used(
                tx, request.principal.project_id, body.secret, now
            ):
                raise _no_secret(body.secret)
            chunk_size = request.dependencies.config.chunk_size_bytes
            upload = await begin(
                request, tx, body.model_name, body.version, wanted, kind="import", chunk_size=chunk_size
            )
            await emit(tx, await transitions.begin(tx, upload, listing, source=body.source, secret=body.secret, at=now))
            return _begun(upload, body.source, listing)

        begun = await once(request, schemas.ImportBegun, open_upload)
    return Response(begun, status=202, headers={"Location": responses.upload_url(request, begun.session_id)})


async def _listed(request: Request[Dependencies], location: Location) -> Listing:
    dependencies, project_id, name = request.dependencies, request.principal.project_id, request.body.secret
    credentials: Credentials | None = None
    if name is not None:
        async with connection(dependencies.pool) as tx:
            secret = await secrets.get(tx, project_id, name)
        if secret is None:
            raise _no_secret(name)
        if secret.type != location.kind:
            raise Invalid(f"The secret '{name}' is of the type {secret.type}, which the source is not.", param="secret")
        try:
            credentials = unseal(Keys.parse(dependencies.config.secrets_key), project_id, name, secret.sealed)
        except CannotUnseal as error:
            raise Invalid(f"The secret '{name}' cannot be read. {error}", param="secret", retryable=False) from None
    async with dependencies.listings.take(project_id):
        return await list_source(Endpoints.parse(dependencies.config.import_endpoints), location, name, credentials)


def _no_secret(name: str) -> Invalid:
    return Invalid(f"There is no secret '{name}' in this project; make it with POST secrets.", param="secret")


def _begun(upload: Upload, source: str, listing: Listing) -> schemas.ImportBegun:
    return schemas.ImportBegun(
        session_id=upload.id,
        model_id=upload.model_id,
        model_name=upload.model_name,
        version=upload.model_version,
        source=source,
        file_count=len(listing.files),
        total_size=listing.size_bytes,
        files=[schemas.ImportedFile(relative_path=file.path, size=file.size_bytes) for file in listing.files],
        dropped=listing.dropped,
    )


ROUTES = [
    Route(
        "POST",
        "uploads/import",
        open_import,
        summary="Begin to copy a model from another object store",
        access=WRITE_MODELS,
        body=schemas.CreateImport,
        returns=schemas.ImportBegun,
        status=202,
    ),
]
