"""What Postgres does for a statement: its plan, and how often it is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from libs.db import Tx

_SCANNED = re.compile(r"Seq Scan on (?:\w+\.)?(\w+)")


@dataclass
class Statements:
    """The statements of one connection, with their arguments."""

    seen: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)


@contextmanager
def recorded(tx: Tx) -> Iterator[Statements]:
    """Every statement that is sent through `tx` meanwhile."""
    statements = Statements()

    def remember(query: Any) -> None:
        statements.seen.append((query.query, tuple(query.args or ())))

    with tx.query_logger(remember):
        yield statements


async def sequential_scans(tx: Tx, statements: Statements) -> set[str]:
    """The tables that any of these statements would read from end to end; nothing is executed."""
    scanned: set[str] = set()
    for query, arguments in statements.seen:
        for row in await tx.fetch(f"EXPLAIN {query}", *arguments):
            scanned |= set(_SCANNED.findall(row["QUERY PLAN"]))
    return scanned


@dataclass
class Traffic:
    """What was asked of Postgres, by any connection of this process, and what came back."""

    statements: list[str] = field(default_factory=list)
    answered_bytes: int = 0  # of values, as text


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Traffic]:
    """Count every statement that fetches rows meanwhile, and the size of the rows."""
    traffic = Traffic()
    execute: Any = asyncpg.Connection._execute

    async def counting(connection: Any, query: str, *args: Any, **rest: Any) -> Any:
        result = await execute(connection, query, *args, **rest)
        traffic.statements.append(query)
        rows = result[0] if isinstance(result, tuple) else result
        traffic.answered_bytes += sum(len(str(value)) for row in rows for value in row.values())
        return result

    with monkeypatch.context() as patched:
        patched.setattr(asyncpg.Connection, "_execute", counting)
        yield traffic
