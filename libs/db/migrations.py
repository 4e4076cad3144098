"""Migrations: forward-only, each file once, each in a transaction."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import asyncpg

from libs.db.pool import CONNECT_TIMEOUT_S, session, when_up
from libs.errors import SlipwayError

log = logging.getLogger(__name__)


class MigrationChanged(SlipwayError):
    """A migration that was already applied has changed. Migrations are forward-only: add a new file instead."""


async def migrate(url: str, schema: str, *folders: Path) -> list[str]:
    """Apply every `*.sql` of each folder that was not applied to `schema`, in order of name, each in a transaction.

    A migration is identified by its folder's owner and its file name, e.g. "outbox/0001_outbox.sql". Waits until
    Postgres accepts writes, and for other processes that migrate the schema. Returns the names applied now.
    Raises: MigrationChanged if a file differs from the one that was applied under its name.
    """

    async def attempt() -> list[str]:
        # A new index may take longer than the role's statement_timeout.
        settings = {**session(schema), "statement_timeout": "0"}
        tx: asyncpg.Connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S, server_settings=settings)
        try:
            return await _migrate(tx, schema, folders)
        finally:
            await tx.close(timeout=CONNECT_TIMEOUT_S)

    return await when_up(attempt)


async def _migrate(tx: asyncpg.Connection, schema: str, folders: tuple[Path, ...]) -> list[str]:
    await tx.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", schema)  # released with the connection
    await tx.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    await tx.execute(
        """
        CREATE TABLE IF NOT EXISTS migration (
            name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    known = {row["name"]: row["sha256"] for row in await tx.fetch("SELECT name, sha256 FROM migration")}
    return [name for name, sql in _migrations(folders) if await _apply(tx, name, sql, known.get(name))]


async def _apply(tx: asyncpg.Connection, name: str, sql: str, known_sha256: str | None) -> bool:
    """Run a migration, unless it was applied before. Returns whether it was run."""
    sha256 = hashlib.sha256(sql.encode()).hexdigest()
    if known_sha256 == sha256:
        return False
    if known_sha256 is not None:
        raise MigrationChanged(f"{name} was applied with other content. Add a new migration instead of editing it.")
    async with tx.transaction():
        await tx.execute(sql)
        await tx.execute("INSERT INTO migration (name, sha256) VALUES ($1, $2)", name, sha256)
    log.info("migration applied", extra={"migration": name})
    return True


def _migrations(folders: tuple[Path, ...]) -> Iterator[tuple[str, str]]:
    """Name and SQL of every migration; the owner's name keeps the 0001 of two folders apart."""
    for folder in folders:
        for file in sorted(folder.glob("*.sql")):
            yield f"{folder.parent.name}/{file.name}", file.read_text()
