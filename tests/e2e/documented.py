"""The examples of the public documents, as programs: read from tests/e2e/documents, run with curl, Python or Node."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

Language = Literal["sh", "python", "js"]

FOLDER = Path(__file__).parent / "documents"
PROGRAMS: dict[Language, list[str]] = {
    "sh": ["bash", "-euo", "pipefail", "-c"],
    "python": [sys.executable, "-c"],
    "js": ["node", "--input-type=module", "--eval"],
}
NEEDS: dict[Language, str | None] = {"sh": "curl", "python": None, "js": "node"}
LANGUAGES = [
    pytest.param(
        language, marks=pytest.mark.skipif(bool(needed and not shutil.which(needed)), reason=f"needs {needed}")
    )
    for language, needed in NEEDS.items()
]
WITHIN_S = 60

_BASE = re.compile(r"https://(?:api\.)?xerotier\.ai/proj_ABC123/v1")
_KEY = "xero_myproject_your_api_key"
_ID = re.compile(r"00000000-1111-0000-1111-000000000000|550e8400-e29b-41d4-a716-446655440000")


@dataclass
class Document:
    """One document: its sections by title, each with its blocks by language."""

    sections: dict[str, dict[str, list[str]]]

    @classmethod
    def read(cls, name: str) -> Document:
        """The document in `documents/NAME.md`."""
        text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
        sections: dict[str, dict[str, list[str]]] = {}
        for section in text.split("\n## ")[1:]:
            title, _, body = section.partition("\n")
            blocks = sections.setdefault(title, {})
            for language, block in re.findall(r"```(\w+)\n(.*?)```", body, re.DOTALL):
                blocks.setdefault(language, []).append(block)
        return cls(sections)

    def run(
        self,
        title: str,
        language: Language,
        *,
        base: str,
        key: str,
        model_id: str = "",
        folder: Path | None = None,
        **variables: str,
    ) -> str:
        """Run the section's example in `folder` -> what it printed, without the end of the line."""
        [program] = self.sections[title][language]
        program = _ID.sub(model_id, _BASE.sub(base, program).replace(_KEY, key))
        ran = subprocess.run(
            [*PROGRAMS[language], program],
            cwd=folder,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN_S,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.rstrip("\n")

    def check(self, title: str, answer: dict[str, Any], which: int = 0) -> None:
        """The answer has all that the documented one has: the same names, with values of the same kinds."""
        _check(json.loads(self.sections[title]["json"][which]), answer, title)


def _check(documented: Any, answer: Any, where: str) -> None:
    if isinstance(documented, dict):
        assert isinstance(answer, dict), where
        for name, value in documented.items():
            assert name in answer, f"{where}: there is no {name} in {answer}"
            _check(value, answer[name], f"{where}.{name}")
    elif isinstance(documented, list):
        assert isinstance(answer, list), where
        for each in answer:
            _check(documented[0], each, f"{where}[]")
    elif documented is not None and answer is not None:
        assert type(answer) is type(documented), f"{where}: {answer!r} is not like {documented!r}"
