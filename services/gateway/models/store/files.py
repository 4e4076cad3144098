"""Statements on `model_file` and `blob`: the files of models, and the objects that hold each content once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from libs.contracts import StoredFile
from libs.db import Tx


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """The objects that hold the contents of an upload."""

    keys: dict[str, str]  # by sha256
    replaced: dict[str, str]  # old keys by sha256, of contents that storage had lost; no longer used


async def claim(tx: Tx, project_id: str, files: Sequence[StoredFile]) -> Claimed:
    """Enter each content of `files` in `blob`, unless the project has it already, and hold it for this transaction.

    Until the transaction ends, no other one can delete these rows or mark them as missing. Existing rows are locked
    FOR SHARE and new ones are inserted in one order, so that uploads with files in common do not wait for each other.
    """
    first = {file.sha256: file for file in reversed(files)}
    contents = sorted(first)
    new_keys = [first[sha256].key for sha256 in contents]
    keys: dict[str, str] = {}
    replaced: dict[str, str] = {}
    while len(keys) < len(contents):  # again, if one was released or lost between the statements
        replaced |= await _replace_missing(tx, project_id, contents, new_keys)
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
            new_keys,
        )
        rows = await tx.fetch(
            """
            SELECT sha256, key, missing_since FROM blob WHERE project_id = $1 AND sha256 = ANY ($2)
             ORDER BY sha256 FOR SHARE
            """,
            project_id,
            contents,
        )
        keys = {row["sha256"]: row["key"] for row in rows if row["missing_since"] is None}
    return Claimed(keys=keys, replaced=replaced)


async def _replace_missing(tx: Tx, project_id: str, contents: Sequence[str], new_keys: Sequence[str]) -> dict[str, str]:
    """Let the new objects take the place of those that storage has lost. Returns the old keys by sha256."""
    rows = await tx.fetch(
        """
        WITH lost AS MATERIALIZED (
            SELECT sha256, key FROM blob
             WHERE project_id = $1 AND sha256 = ANY ($2) AND missing_since IS NOT NULL
             ORDER BY sha256 FOR UPDATE
        )
        UPDATE blob SET key = new.key, missing_since = NULL, looked_for_at = NULL
          FROM lost JOIN unnest($2::text[], $3::text[]) AS new (sha256, key) USING (sha256)
         WHERE blob.project_id = $1 AND blob.sha256 = lost.sha256
        RETURNING lost.sha256, lost.key
        """,
        project_id,
        contents,
        new_keys,
    )
    new = dict(zip(contents, new_keys, strict=True))
    return {row["sha256"]: row["key"] for row in rows if row["key"] != new[row["sha256"]]}


async def mark_missing(tx: Tx, project_id: str, keys: Sequence[str], at: datetime) -> list[str]:
    """Mark objects that are not in storage, so that no upload shares them any more.

    Waits for registrations that hold them. Returns the sha256 of those that were not marked before.
    """
    rows = await tx.fetch(
        """
        UPDATE blob SET missing_since = $3, looked_for_at = $3
         WHERE key IN (SELECT key FROM blob
                        WHERE project_id = $1 AND key = ANY ($2) AND missing_since IS NULL
                          AND (looked_for_at IS NULL OR looked_for_at < $3)
                        ORDER BY sha256 FOR UPDATE)
        RETURNING sha256
        """,
        project_id,
        keys,
        at,
    )
    return [row["sha256"] for row in rows]


async def mark_found(tx: Tx, project_id: str, keys: Sequence[str], at: datetime) -> list[str]:
    """Mark objects as being in storage. Returns the sha256 of those that were missing."""
    rows = await tx.fetch(
        """
        WITH found AS MATERIALIZED (
            SELECT key, missing_since FROM blob
             WHERE project_id = $1 AND key = ANY ($2) AND (looked_for_at IS NULL OR looked_for_at < $3)
             ORDER BY sha256 FOR UPDATE
        )
        UPDATE blob SET missing_since = NULL, looked_for_at = $3
          FROM found WHERE blob.key = found.key
        RETURNING sha256, found.missing_since IS NOT NULL AS was_missing
        """,
        project_id,
        keys,
        at,
    )
    return [row["sha256"] for row in rows if row["was_missing"]]


async def missing_of(tx: Tx, model_ids: Sequence[str]) -> dict[str, list[str]]:
    """The paths of files whose objects are missing, in order, by model; without models that lack none."""
    rows = await tx.fetch(
        """
        SELECT f.model_id, array_agg(f.path ORDER BY f.path COLLATE "C") AS paths
          FROM model_file f JOIN blob b USING (project_id, sha256)
         WHERE f.model_id = ANY ($1) AND b.missing_since IS NOT NULL
         GROUP BY f.model_id
        """,
        model_ids,
    )
    return {row["model_id"]: row["paths"] for row in rows}


async def insert(tx: Tx, model_id: str, project_id: str, files: Sequence[StoredFile]) -> None:
    """Insert the files of a model, whose contents have been claimed."""
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
    """A file of the model and its object; None if the model has no such file."""
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
    """Those of the keys that the registry refers to."""
    rows = await tx.fetch("SELECT key FROM blob WHERE key = ANY ($1)", list(keys))
    return {row["key"] for row in rows}


async def hold(tx: Tx, model_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Lock the contents of these models: no registration can share them until the transaction ends.

    Waits for registrations that `claim` them. Returns (project id, sha256) of each.
    """
    rows = await tx.fetch(
        """
        SELECT project_id, sha256 FROM blob
         WHERE (project_id, sha256) IN (SELECT project_id, sha256 FROM model_file WHERE model_id = ANY ($1))
         ORDER BY project_id, sha256 FOR UPDATE
        """,
        model_ids,
    )
    return [(row["project_id"], row["sha256"]) for row in rows]


async def release(tx: Tx, held: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Delete those of the contents that no model has any more. Returns the keys of their objects, by project.

    The caller has taken `hold` in a statement before, so that this one sees the files of whoever had claimed them.
    """
    rows = await tx.fetch(
        """
        DELETE FROM blob b
         USING unnest($1::text[], $2::text[]) AS held (project_id, sha256)
         WHERE b.project_id = held.project_id AND b.sha256 = held.sha256
           AND NOT EXISTS (SELECT FROM model_file f WHERE f.project_id = b.project_id AND f.sha256 = b.sha256)
        RETURNING b.project_id, b.key
        """,
        [project_id for project_id, _ in held],
        [sha256 for _, sha256 in held],
    )
    keys: dict[str, list[str]] = {}
    for row in rows:
        keys.setdefault(row["project_id"], []).append(row["key"])
    return keys
