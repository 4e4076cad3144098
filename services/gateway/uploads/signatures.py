"""Signed URLs of this gateway: whoever has one may send that file of that upload until it expires, without a key.

The secret is a random one of the upload and in its row, so any replica can check what another one has signed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable, Mapping
from urllib.parse import quote, urlencode

from libs.errors import Forbidden

SECRET_BYTES = 32
PREFIX = "v1/signed/uploads"  # of the routes


class SignatureRefused(Forbidden):
    """The signed URL has expired, or is not one of this upload. Ask getUploadEndpoint for a new one."""

    code = "signature_refused"


def new_secret() -> bytes:
    """What the URLs of one upload are signed with."""
    return secrets.token_bytes(SECRET_BYTES)


def signed_urls(
    base_url: str, upload_id: str, secret: bytes, paths: Iterable[str], *, expires_s: float
) -> Mapping[str, str]:
    """Where each file is sent; `base_url`: scheme and host of this gateway, as its clients reach it."""
    expires = int(time.time() + expires_s)
    urls = {}
    for path in paths:
        query = urlencode({"expires": expires, "signature": _signature(secret, upload_id, path, expires)})
        urls[path] = f"{base_url}/{PREFIX}/{upload_id}/files/{quote(path)}?{query}"
    return urls


def require_signed(secret: bytes | None, upload_id: str, path: str, expires: int, signature: str) -> None:
    """Raises: SignatureRefused, unless `signature` is that of this file and `expires` has not passed."""
    wanted = _signature(secret or new_secret(), upload_id, path, expires)
    if not hmac.compare_digest(wanted.encode(), signature.encode()) or expires < time.time():
        raise SignatureRefused(retryable=False)


def _signature(secret: bytes, upload_id: str, path: str, expires: int) -> str:
    return hmac.new(secret, f"{upload_id}\n{expires}\n{path}".encode(), hashlib.sha256).hexdigest()
