"""Statements on `model_file` and `blob`: the files of models, and the objects that hold each content once."""

from __future__ import annotations

from collections.abc import Sequence

from libs.contracts import StoredFile
from libs.db import Tx


async def claim(tx: Tx, project_id: str, files: Sequence[StoredFile]) -> dict[str, str]:
    """sha256 -> the key under which the project stores that content: of its first copy, if it has one already.

    Nobody can release them until the transaction ends. Rows that are there are only shared, and new ones entered in
    one order: uploads that have files in common, and may share some of them already, never deadlock.
    """
    first = {file.sha256: file for file in reversed(files)}
    contents = sorted(first)
    keys: dict[str, str] = {}
    while len(keys) < len(contents):  # again, if one was released between the two statements
        await tx.execute(
            """
            INSERT INTO blob (project_id, sha256, size_bytes, key)
            SELECT $1, sha256, size_bytes, key
              FROM unnest($2::text[], $3::bigint[], $4::text[]) AS new (sha256, size_bytes, key)
            ON CONFLICT (project_id, sha256) DO NOTHING
            """,
            project_id,
            contents,
            [first[sha256].size_bytes for sha256 in contents],
            [first[sha256].key for sha256 in contents],
        )
        rows = await tx.fetch(
            "SELECT sha256, key FROM blob WHERE project_id = $1 AND sha256 = ANY ($2) FOR KEY SHARE",
            project_id,
            contents,
        )
        keys = {row["sha256"]: row["key"] for row in rows}
    return keys


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


async def get(tx: Tx, model_id: str, path: str) -> StoredFile | None:
    """One file of the model and its object."""
    row = await tx.fetchrow(
        """
        SELECT f.path, b.size_bytes, b.sha256, b.key
          FROM model_file f JOIN blob b USING (project_id, sha256)
         WHERE f.model_id = $1 AND f.path = $2
        """,
        model_id,
        path,
    )
    return None if row is None else StoredFile(**row)


async def claimed(tx: Tx, keys: Sequence[str]) -> set[str]:
    """Which of these objects the registry refers to."""
    rows = await tx.fetch("SELECT key FROM blob WHERE key = ANY ($1)", list(keys))
    return {row["key"] for row in rows}
