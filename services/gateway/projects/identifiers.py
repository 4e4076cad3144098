"""The formats of project ids, slugs and keys; new ones are random."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import unicodedata
from collections.abc import Iterator
from itertools import count

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # base 32 without I, L, O, U: cannot be misread
_BASE62 = string.ascii_letters + string.digits
_SECRET_LENGTH = 40  # characters of base 62: 238 bits
_SHOWN_LENGTH = 6  # of the secret, in a key's prefix: 35 bits, which leaves 203 unknown
_MAX_SLUG = 30


def new_project_id() -> str:
    """E.g. "proj_7KQ2M9ZT4B" (50 bits)."""
    return "proj_" + "".join(secrets.choice(_CROCKFORD) for _ in range(10))


def new_key_id() -> str:
    """E.g. "key_k3J9x0QpLmZ2vB7a" (95 bits)."""
    return "key_" + "".join(secrets.choice(_BASE62) for _ in range(16))


def new_member_id() -> str:
    """E.g. "member_k3J9x0QpLmZ2vB7a" (95 bits)."""
    return "member_" + "".join(secrets.choice(_BASE62) for _ in range(16))


def new_key(slug: str) -> str:
    """A key, xero_{slug}_{secret}; only its SHA-256 may be stored."""
    return f"xero_{slug}_" + "".join(secrets.choice(_BASE62) for _ in range(_SECRET_LENGTH))


def prefix_of(key: str) -> str:
    """The beginning of a key, by which people recognise it: "xero_myproject_aB3dE9"."""
    return key[: -(_SECRET_LENGTH - _SHOWN_LENGTH)]


def digest_of(key: str) -> bytes:
    """The SHA-256 of a key: enough for a random secret, which no dictionary has, and fast enough for every request."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()  # a header may hold any byte


def slugs(name: str) -> Iterator[str]:
    """Slugs for a project called `name`, to be tried until one is free: "myproject", "myproject2", …"""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]", "", plain)[:_MAX_SLUG] or "project"
    yield slug
    for number in count(2):
        yield f"{slug}{number}"
