"""Routes of the secrets."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime

from libs.db import connection, transaction
from libs.errors import Conflict, Forbidden, Invalid, NotFound
from libs.outbox import emit
from libs.remote import AzureCredentials, Credentials, S3Credentials
from libs.remote.credentials import seal
from libs.sealing import SETTING, Keys
from libs.web import Request, Response, Route
from services.gateway.dependencies import Dependencies
from services.gateway.imports import transitions as imports
from services.gateway.presentation import timestamp
from services.gateway.projects.access import READ_MODELS, WRITE_MODELS
from services.gateway.secrets import schemas, store
from services.gateway.secrets.store import SecretRow

MAX_SECRETS = 100  # of one project
MAX_VALUE_CHARACTERS = 8192
_SAS = re.compile(r"\??[A-Za-z0-9%&=+/:._~,-]*sig=[A-Za-z0-9%&=+/:._~,-]*")


class SecretsDisabled(Forbidden):
    """This installation keeps no secrets."""

    code = "feature_not_enabled"


async def put_secret(request: Request[Dependencies]) -> schemas.Secret | Response:
    """Keep a secret, or replace the one of that name: imports that wait for it go on with the new value.

    Emits: UploadOpened, for the files of those imports.
    Raises: Invalid; SecretsDisabled; Conflict if there are too many.
    """
    body: schemas.CreateSecret = request.body
    dependencies, project_id, now = request.dependencies, request.principal.project_id, datetime.now(UTC)
    credentials = _credentials(body)
    keys = Keys.parse(dependencies.config.secrets_key)
    if not keys:
        raise SecretsDisabled(
            f"This installation keeps no secrets. Its operator has to set {SETTING} for the gateway and the extractor.",
            retryable=False,
        )
    sealed = seal(keys, project_id, body.name, credentials)
    async with transaction(dependencies.pool) as tx:
        row, replaced = await store.put(tx, project_id, name=body.name, kind=body.type, sealed=sealed)
        if not replaced and await store.count(tx, project_id) > MAX_SECRETS:
            raise Conflict(f"A project has up to {MAX_SECRETS} secrets; delete one first.", retryable=False)
        await emit(tx, await imports.renew(tx, project_id, body.name, at=now))
    return Response(_shown(row), status=200 if replaced else 201)


async def list_secrets(request: Request[Dependencies]) -> schemas.SecretList:
    """All secrets of the project, without their values."""
    async with connection(request.dependencies.pool) as tx:
        rows = await store.all_of(tx, request.principal.project_id)
    return schemas.SecretList(data=[_shown(row) for row in rows])


async def delete_secret(request: Request[Dependencies]) -> schemas.SecretDeleted:
    """Delete a secret: imports under way read nothing more with it once they are told, and wait.

    Emits: UploadOpened, for the files of those imports.
    Raises: NotFound.
    """
    project_id, name = request.principal.project_id, request.params["secret_name"]
    async with transaction(request.dependencies.pool) as tx:
        if not await store.delete(tx, project_id, name):
            raise NotFound("There is no such secret in this project.")
        await emit(tx, await imports.renew(tx, project_id, name, at=datetime.now(UTC)))
    return schemas.SecretDeleted(name=name)


def _shown(row: SecretRow) -> schemas.Secret:
    return schemas.Secret(
        name=row.name,
        type=row.type,
        created_at=timestamp(row.created_at),
        last_used_at=timestamp(row.last_used_at) if row.last_used_at else None,
    )


def _credentials(body: schemas.CreateSecret) -> Credentials:
    """Raises: Invalid, which names the field and never shows a value."""
    fields = ("access_key_id", "secret_access_key", "session_token", "account_key", "sas_token")
    given = {name: value.strip() for name in fields if (value := getattr(body, name))}
    for name, value in given.items():
        if not value or len(value) > MAX_VALUE_CHARACTERS or not (value.isascii() and value.isprintable()):
            raise Invalid(
                f"'{name}' is to be up to {MAX_VALUE_CHARACTERS} printable ASCII characters.", param=name
            ) from None
    if body.type == "s3":
        if "access_key_id" not in given or "secret_access_key" not in given or not given.keys() <= set(fields[:3]):
            raise Invalid(
                "A secret of the type s3 has 'access_key_id' and 'secret_access_key', and may have 'session_token'.",
                param="access_key_id" if "access_key_id" not in given else "secret_access_key",
            )
        return S3Credentials(**given)
    if len(given) != 1 or not given.keys() <= set(fields[3:]):
        raise Invalid("A secret of the type azure has either 'account_key' or 'sas_token'.", param="account_key")
    if "account_key" in given:
        _require_base64(given["account_key"])
    if not _SAS.fullmatch(given.get("sas_token", "sig=")):
        raise Invalid("'sas_token' is the query that Azure shows: sv=…&sig=…", param="sas_token")
    return AzureCredentials(**{name: value.removeprefix("?") for name, value in given.items()})


def _require_base64(key: str) -> None:
    try:
        base64.b64decode(key, validate=True)
    except binascii.Error:
        raise Invalid("'account_key' is the base64 text that Azure shows.", param="account_key") from None


ROUTES = [
    Route(
        "POST",
        "secrets",
        put_secret,
        summary="Keep credentials for another object store, or replace them",
        access=WRITE_MODELS,
        body=schemas.CreateSecret,
        returns=schemas.Secret,
        status=201,
        also={200: schemas.Secret},
    ),
    Route("GET", "secrets", list_secrets, summary="List secrets", access=READ_MODELS, returns=schemas.SecretList),
    Route(
        "DELETE",
        "secrets/{secret_name}",
        delete_secret,
        summary="Delete a secret",
        access=WRITE_MODELS,
        returns=schemas.SecretDeleted,
    ),
]
