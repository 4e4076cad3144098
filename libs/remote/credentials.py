"""Credentials for other stores, and how services keep them: sealed, for one project and one name."""

from __future__ import annotations

import msgspec

from libs.sealing import Keys


class S3Credentials(msgspec.Struct, frozen=True, kw_only=True, tag="s3", tag_field="type"):
    """An access key of an S3 store."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None  # of temporary credentials

    def __repr__(self) -> str:
        return "S3Credentials(…)"


class AzureCredentials(msgspec.Struct, frozen=True, kw_only=True, tag="azure", tag_field="type"):
    """One of the two by which a storage account of Azure is read."""

    account_key: str | None = None  # base64
    sas_token: str | None = None  # a query string: sv=…&sig=…

    def __repr__(self) -> str:
        return "AzureCredentials(…)"


Credentials = S3Credentials | AzureCredentials

_decoder: msgspec.json.Decoder[Credentials] = msgspec.json.Decoder(Credentials)


def seal(keys: Keys, project_id: str, name: str, credentials: Credentials) -> str:
    """Encrypt the credentials that are the secret `name` of a project. There has to be a key."""
    return keys.seal(msgspec.json.encode(credentials), about=_about(project_id, name))


def unseal(keys: Keys, project_id: str, name: str, sealed: str) -> Credentials:
    """The credentials of a secret. Raises: CannotUnseal."""
    return _decoder.decode(keys.unseal(sealed, about=_about(project_id, name)))


def _about(project_id: str, name: str) -> str:
    return f"secret/{project_id}/{name}"
