"""What a schema says about the states of a table."""

from __future__ import annotations

import re

from libs.db import Tx


async def checked_states(tx: Tx, table: str, column: str = "state") -> list[str]:
    """The values that the CHECK constraint of `column` allows, in its order."""
    rows = await tx.fetch(
        """
        SELECT pg_get_constraintdef(oid) AS definition FROM pg_constraint
         WHERE conrelid = $1::text::regclass AND contype = 'c' AND pg_get_constraintdef(oid) LIKE $2
        """,
        table,
        f"CHECK (({column} = ANY (%",
    )
    found = [re.findall(r"'(\w+)'", row["definition"]) for row in rows]
    return max(found, key=len)


async def states_in_conditions(tx: Tx, table: str, column: str = "state") -> set[str]:
    """Every value that a constraint, partial index, generated column or default of `table` compares `column` with."""
    rows = await tx.fetch(
        """
        SELECT pg_get_constraintdef(oid) AS text FROM pg_constraint
         WHERE conrelid = $1::text::regclass AND contype = 'c'
        UNION ALL
        SELECT pg_get_expr(indpred, indrelid) FROM pg_index WHERE indrelid = $1::text::regclass AND indpred IS NOT NULL
        UNION ALL
        SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = $1::text::regclass
        """,
        table,
    )
    compared = re.compile(rf"\b{column} (?:=|<>) (?:ANY \(ARRAY\[)?((?:'\w+'::text(?:, )?)+)")
    return {state for row in rows for some in compared.findall(row["text"]) for state in re.findall(r"'(\w+)'", some)}
