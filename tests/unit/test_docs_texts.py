"""Which texts an expression of the source can be, as docs/findings.md needs them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from deploy.docs.texts import Sources, called

_LIMIT = 'LIMIT = 8\nADVICE = "Send it again."\n'
CASES = {
    "a text": ('say("one")', ["one"]),
    "what only a run knows": ('say(f"one of {count:,} in {len(files)}.")', ["one of … in …."]),
    "a constant": (f"{_LIMIT}say(f'at most {{LIMIT}}. {{ADVICE}}')", ["at most 8. Send it again."]),
    "either": ('say("a" if ok else "b")', ["a", "b"]),
    "a variable": ('def f():\n    found = "old"\n    found = f"new {x}"\n    say(found)', ["new …"]),
    "the variable of its branch": (
        'def f():\n    if a:\n        found = "one"\n        say(found)\n    else:\n        found = "two"',
        ["one"],
    ),
    "a variable of several branches": (
        'def f():\n    if a:\n        what = "is empty"\n    else:\n        what = "is long"\n    say(f"It {what}.")',
        ["It is empty.", "It is long."],
    ),
    "a parameter": ('def _no(what):\n    say(f"It {what}.")\n_no("ends")\n_no("begins")', ["It ends.", "It begins."]),
    "a parameter through two functions": (
        'def _no(what):\n    say(what)\ndef _not(kind):\n    _no(kind)\n_not("a link")',
        ["a link"],
    ),
    "what a function returns": (
        'def why():\n    return "because", 1\ndef f():\n    reason, code = why()\n    say(reason)',
        ["because"],
    ),
    "nothing": ("say(read())", ["…"]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_texts_of_an_argument(case: str, tmp_path: Path) -> None:
    source, texts = CASES[case]
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "module.py").write_text(source)
    sources = Sources(tmp_path, ["code"])
    [tree] = sources.modules.values()
    [call] = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and called(node) == "say"][:1]

    found = [text for scope in sources.scopes(call, call.args) for text in sources.texts(call.args[0], scope)]

    assert found == texts
