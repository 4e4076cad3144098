"""What takes in bytes knows nothing of uploads: neither their states nor their tables."""

from __future__ import annotations

import ast

from tests.support.statements import ROOT

UPLOADS = "services.gateway.uploads"
RECEIVING = f"{UPLOADS}.receiving"


def test_receiving_imports_nothing_of_uploads() -> None:
    imported = {
        node.module
        for path in (ROOT / RECEIVING.replace(".", "/")).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module is not None
    }
    assert {name for name in imported if name.startswith(UPLOADS)} == {
        name for name in imported if name.startswith(f"{RECEIVING}.")
    }
