"""Bodies and responses of the secrets."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

SecretName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$(?!\n)",
        description="a name of up to 64 letters, digits, '.', '-' and '_'",
    ),
]
SecretType = Literal["s3", "azure"]


class CreateSecret(Struct, frozen=True, kw_only=True):
    """Credentials for object stores; of the type s3: the first two, and the third where they are temporary.

    Of the type azure: one of the last two. Fields of values have no constraints: an error would show the value.
    """

    name: SecretName
    type: SecretType
    access_key_id: str | None = None
    secret_access_key: str | None = None
    session_token: str | None = None
    account_key: str | None = None
    sas_token: str | None = None

    def __repr__(self) -> str:
        return f"CreateSecret({self.name!r}, {self.type!r}, …)"


class Secret(Struct, frozen=True, kw_only=True):
    """A secret, without its value; `created_at` is when it was made or replaced."""

    name: str
    type: SecretType
    created_at: str
    last_used_at: str | None
    object: Literal["secret"] = "secret"


class SecretList(Struct, frozen=True, kw_only=True):
    """All secrets of a project, by name."""

    data: list[Secret]
    object: Literal["list"] = "list"


class SecretDeleted(Struct, frozen=True, kw_only=True):
    """The secret is gone."""

    name: str
    deleted: bool = True
    object: Literal["secret"] = "secret"
