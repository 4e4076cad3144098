"""Values that are kept encrypted: AES-256-GCM under keys that only services know.

A sealed value is `1.{key}.{content}`: the version of this form, the key that sealed it (the first 8 digits of its
SHA-256), and nonce and ciphertext in base64. It says nothing of its content but the length, and opens only for what it
was sealed for (`about`): copied to another row it is worthless.

Source: NIST SP 800-38D; a random nonce of 96 bits is safe for 2^32 values under one key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from libs.errors import SlipwayError

# One key, or several with commas between them: the first seals, all open.
SecretsKey = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9+/_-]{43}=(,[A-Za-z0-9+/_-]{43}=)*$(?!\n)")]

SETTING = "SLIPWAY_SECRETS_KEY"
KEY_BYTES = 32
_VERSION = "1"
_NONCE_BYTES = 12


class CannotUnseal(SlipwayError):
    """The sealed value cannot be opened."""

    code = "cannot_unseal"


def new_key() -> str:
    """A random key, as the setting takes it."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


class Keys:
    """The keys of this installation. To replace one: put the new key before it, and later take the old one out."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """`keys`: of 32 bytes each; the first seals."""
        self._ciphers = {_name(key): AESGCM(key) for key in keys}
        self._first = _name(keys[0]) if keys else ""

    @classmethod
    def parse(cls, setting: str | None) -> Keys:
        """From the setting; no keys, if it is not set."""
        listed = setting.split(",") if setting else []
        return cls([base64.b64decode(each.replace("-", "+").replace("_", "/")) for each in listed])

    def __bool__(self) -> bool:
        return bool(self._ciphers)

    def __repr__(self) -> str:
        return f"Keys({', '.join(self._ciphers)})"

    def seal(self, content: bytes, *, about: str) -> str:
        """Encrypt `content`; `about`, the same at `unseal`, is what it belongs to. There has to be a key."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._first].encrypt(nonce, content, about.encode())
        return f"{_VERSION}.{self._first}.{base64.b64encode(nonce + sealed).decode()}"

    def unseal(self, sealed: str, *, about: str) -> bytes:
        """Decrypt.

        Raises: CannotUnseal, whose message says which setting to look at.
        """
        version, _, rest = sealed.partition(".")
        name, _, content = rest.partition(".")
        cipher = self._ciphers.get(name)
        if version != _VERSION or cipher is None:
            raise CannotUnseal(
                f"It was encrypted under the key {name!r}, which {SETTING} of this service does not have. Its operator "
                "adds that key to the setting, after the others."
            )
        try:
            raw = base64.b64decode(content, validate=True)
            return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], about.encode())
        except (InvalidTag, binascii.Error, ValueError):
            raise CannotUnseal("It was changed, or encrypted for something else.") from None


def _name(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:8]
