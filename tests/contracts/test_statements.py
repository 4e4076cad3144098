"""Every statement names its columns: the next release adds some while this one still runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

# `SELECT *`, `RETURNING *`, `SELECT alias.*`, `, alias.*`; neither count(*) nor a product
_ALL_COLUMNS = re.compile(r"\b(?:SELECT|RETURNING)\s+(?:DISTINCT\s+)?(?:\w+\.)?\*|[,(]\s*\w+\.\*", re.IGNORECASE)


def statements(source: str) -> list[tuple[int, str]]:
    """Every text of a module that is no docstring, with its line; of an f-string the fixed parts."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [(node.lineno, str(node.value)) for node in texts if id(node) not in docstrings]


def test_no_statement_asks_for_every_column() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.strip()[:80]}"
        for folder in ("services", "libs")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in statements(path.read_text())
        if _ALL_COLUMNS.search(text)
    ]

    assert found == [], "name the columns (libs.db.columns): " + "; ".join(found)


def test_what_asks_for_every_column_is_found() -> None:
    asking = ("SELECT * FROM a", "INSERT INTO a VALUES (1) RETURNING *", "SELECT a.* FROM a", "SELECT b.id, a.* FROM a")
    naming = ("SELECT count(*) FROM a", "SELECT a.id * 2 FROM a", "RETURNING id", "SELECT (a * b) FROM a")

    assert all(_ALL_COLUMNS.search(statement) for statement in asking)
    assert not any(_ALL_COLUMNS.search(statement) for statement in naming)
