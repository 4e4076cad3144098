"""The front matter of a model card, and the license."""

from __future__ import annotations

import pytest

from services.validator import frontmatter

CARDS = {
    "a value": (b"---\nlicense: mit\n---\n", {"license": ["mit"]}),
    "quoted": (b'---\nlicense: "mit"\n---\n', {"license": ["mit"]}),
    "a list in line": (b"---\nlanguage: [en, 'fr']\n---\n", {"language": ["en", "fr"]}),
    "a list below": (b"---\nlanguage:\n- en\n  - fr\ntags:\n---\n", {"language": ["en", "fr"], "tags": []}),
    "Windows' lines": (b"---\r\nlicense: mit\r\n---\r\n", {"license": ["mit"]}),
    "deeper keys are not read": (b"---\nmodel-index:\n  name: x\n---\n", {"model-index": []}),
    "no front matter": (b"# A model\nlicense: mit\n", {}),
    "never ends": (b"---\nlicense: mit\n", {}),
    "empty": (b"", {}),
    "no UTF-8": (b"---\nlicense: \xff\n---\n", {"license": ["\ufffd"]}),
}


@pytest.mark.parametrize("case", CARDS)
def test_front_matter(case: str) -> None:
    card, fields = CARDS[case]
    assert frontmatter.read(card) == fields


@pytest.mark.parametrize(
    ("card", "text", "name"),
    [
        (b"---\nlicense: apache-2.0\n---\n", b"MIT License", "apache-2.0"),
        (b"---\nlicense: other\nlicense_name: llama3\n---\n", b"", "llama3"),
        (b"---\nlicense: other\n---\n", b"                                 Apache License\n Version 2.0", "apache-2.0"),
        (b"", b"MIT License\n", "mit"),
        (b"", b"Ask the author.", None),
    ],
)
def test_license(card: bytes, text: bytes, name: str | None) -> None:
    assert frontmatter.license_name(card, text) == name
