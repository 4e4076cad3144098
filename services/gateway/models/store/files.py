"""Statements on `model_file` and `blob`: the files of models, and the objects that hold each content once."""

from __future__ import annotations

from collections.abc import Sequence

from libs.contracts import StoredFile
from libs.db import Tx


async def claim(tx: Tx, project_id: str, files: Sequence[StoredFile]) -> dict[str, str]:
    """sha256 -> the key under which the project stores that content: of its first copy, if it has one already.

    Locks the blobs' rows, in one order, until the transaction ends, so that nobody releases them meanwhile.
    """
    first = {file.sha256: file for file in reversed(files)}
    rows = await tx.fetch(
        """
        INSERT INTO blob (project_id, sha256, size_bytes, key)
        SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::text[]) AS new (sha256, size_bytes, key)
        ON CONFLICT (project_id, sha256) DO UPDATE SET size_bytes = blob.size_bytes
        RETURNING sha256, key
        """,
        project_id,
        sorted(first),
        [first[sha256].size_bytes for sha256 in sorted(first)],
        [first[sha256].key for sha256 in sorted(first)],
    )
    return {row["sha256"]: row["key"] for row in rows}


async def insert(tx: Tx, model_id: str, project_id: str, files: Sequence[StoredFile]) -> None:
    """List the model's files; their blobs are claimed already."""
    await tx.executemany(
        "INSERT INTO model_file (model_id, path, project_id, sha256) VALUES ($1, $2, $3, $4)",
        [(model_id, file.path, project_id, file.sha256) for file in files],
    )


async def of_model(tx: Tx, model_id: str) -> list[StoredFile]:
    """The model's files and their objects, by path."""
    rows = await tx.fetch(
        """
        SELECT f.path, b.size_bytes, b.sha256, b.key
          FROM model_file f JOIN blob b USING (project_id, sha256)
         WHERE f.model_id = $1 ORDER BY f.path COLLATE "C"
        """,
        model_id,
    )
    return [StoredFile(**row) for row in rows]


async def claimed(tx: Tx, keys: Sequence[str]) -> set[str]:
    """Which of these objects the registry refers to."""
    rows = await tx.fetch("SELECT key FROM blob WHERE key = ANY ($1)", list(keys))
    return {row["key"] for row in rows}
