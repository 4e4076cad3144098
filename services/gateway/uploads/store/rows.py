"""Rows of several tables in one answer: a lookup is one round trip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)

# Of the upload $1, as it was before the statement: files that have arrived or need not be sent, and all.
COUNTS = """
    (SELECT count(*) FROM upload_file f LEFT JOIN upload_stream s ON s.upload_id = f.upload_id AND s.number = f.number
      WHERE f.upload_id = $1 AND (f.key IS NOT NULL OR s.parts_stored = s.total_parts)) AS arrived,
    (SELECT count(*) FROM upload_file WHERE upload_id = $1) AS expected
"""


def aliased(alias: str, row: type[msgspec.Struct]) -> str:
    """The columns of `row` from the table `alias`, for SELECT: "u.id AS u_id, u.kind AS u_kind"."""
    return ", ".join(f"{alias}.{name} AS {alias}_{name}" for name in row.__struct_fields__)


def struct_from(found: Mapping[str, Any], alias: str, row: type[S]) -> S:
    """The `row` whose columns `aliased` named."""
    return row(**{name: found[f"{alias}_{name}"] for name in row.__struct_fields__})


def struct_or_none(found: Mapping[str, Any], alias: str, row: type[S], *, key: str) -> S | None:
    """As `struct_from`; None where an outer join found no such row, so that its `key` is NULL."""
    return None if found[f"{alias}_{key}"] is None else struct_from(found, alias, row)
