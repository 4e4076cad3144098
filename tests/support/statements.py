"""The texts of the source code, where statements are: what must not stand there is found by tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from pathlib import Path

ROOT = Path(__file__).parents[2]


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


def statements_with(pattern: re.Pattern[str], folder: str, *, besides: Collection[str] = ()) -> list[str]:
    """Every text below `folder` (from ROOT) that matches, as "path:line: text"; not in files named in `besides`."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {text.strip()[:80]}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name not in besides
        for line, text in statements(path.read_text())
        if pattern.search(text)
    ]


def spelled(states: Collection[str]) -> re.Pattern[str]:
    """Matches SQL that has the name of a state in it, instead of having it filled in from `states.py`."""
    return re.compile("|".join(f"'{state}'" for state in states))
