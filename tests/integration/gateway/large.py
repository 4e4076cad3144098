"""A registry of a size at which a plan shows what it is worth."""

from __future__ import annotations

from libs.contracts.keys import objects_prefix
from libs.db import Pool, transaction

PROJECTS = 20
MODELS = 100_000  # of all projects together; one file each
LARGE_PROJECT = "proj_BBBBB00000"

_PROJECT = f"'proj_BBBBB' || lpad((n % {PROJECTS})::text, 5, '0')"
_SHA256 = "encode(sha256(n::text::bytea), 'hex')"
_TABLES = {
    "project": f"(id, name, slug) SELECT {_PROJECT}, 'large ' || n, 'large' || n",
    "model": f"""
        (id, project_id, name, version, is_latest, status, status_reason, validation_id, deadline_at, parked_since)
        SELECT 'm' || n, {_PROJECT}, 'model ' || n, '1.0.0', true,
               CASE WHEN n % 1000 = 0 THEN 'validating' ELSE 'ready' END, 'storage is away.', 'v' || n,
               now() + interval '1 hour', CASE WHEN n % 1000 = 0 THEN now() END
        """,
    "blob": f"""
        (project_id, sha256, size_bytes, key)
        SELECT {_PROJECT}, {_SHA256}, 1, {_PROJECT} || '/objects/u' || n || '/f0-0'
        """,
    "model_file": f"(model_id, path, project_id, sha256) SELECT 'm' || n, 'weights.gguf', {_PROJECT}, {_SHA256}",
    "upload": f"""
        (id, project_id, model_id, model_name, model_version, kind, status, chunk_size_bytes, expires_at)
        SELECT 'u' || n, {_PROJECT}, 'm' || n, 'model ' || n, '1.0.0', 'directory', 'completed', 1, now()
        """,
}


LARGE_TABLES = set(_TABLES) - {"project"}


def large_model(number: int) -> str:
    """The id of the `number`th model of the large project."""
    return f"m{number * PROJECTS}"


def large_key(number: int) -> str:
    """Where its file is."""
    return f"{objects_prefix(LARGE_PROJECT, f'u{number * PROJECTS}')}f0-0"


async def given_large_registry(pool: Pool) -> None:
    """Projects with models, their files and uploads; with statistics, as Postgres has after a while."""
    async with transaction(pool) as tx:
        await tx.execute("SET LOCAL session_replication_role = replica")  # no check of each row's references
        for table, row in _TABLES.items():
            rows = PROJECTS if table == "project" else MODELS
            await tx.execute(f"INSERT INTO {table} {row} FROM generate_series(0, {rows - 1}) AS n")
            await tx.execute(f"ANALYZE {table}")
