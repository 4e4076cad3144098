"""Every statement names its columns: the next release adds some while this one still runs."""

from __future__ import annotations

import re

from tests.support.statements import statements_with

# `SELECT *`, `RETURNING *`, `SELECT alias.*`, `, alias.*`; neither count(*) nor a product
_ALL_COLUMNS = re.compile(r"\b(?:SELECT|RETURNING)\s+(?:DISTINCT\s+)?(?:\w+\.)?\*|[,(]\s*\w+\.\*", re.IGNORECASE)


def test_no_statement_asks_for_every_column() -> None:
    found = [each for folder in ("services", "libs") for each in statements_with(_ALL_COLUMNS, folder)]

    assert found == [], "name the columns (libs.db.columns): " + "; ".join(found)


def test_what_asks_for_every_column_is_found() -> None:
    asking = ("SELECT * FROM a", "INSERT INTO a VALUES (1) RETURNING *", "SELECT a.* FROM a", "SELECT b.id, a.* FROM a")
    naming = ("SELECT count(*) FROM a", "SELECT a.id * 2 FROM a", "RETURNING id", "SELECT (a * b) FROM a")

    assert all(_ALL_COLUMNS.search(statement) for statement in asking)
    assert not any(_ALL_COLUMNS.search(statement) for statement in naming)
