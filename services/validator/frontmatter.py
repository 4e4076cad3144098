"""Reads the front matter of a model card: the YAML between the first two lines of `---` in README.md.

Only the forms that model cards use are read: `key: value`, `key: [a, b]` and a list of `- item`
lines. Source: https://huggingface.co/docs/hub/model-cards#model-card-metadata.
"""

from __future__ import annotations

MAX_BYTES = 64 * 1024

_LICENSES = (
    ("Apache License", "apache-2.0"),
    ("MIT License", "mit"),
    ("GNU AFFERO GENERAL PUBLIC LICENSE", "agpl-3.0"),
    ("GNU LESSER GENERAL PUBLIC LICENSE", "lgpl-3.0"),
    ("GNU GENERAL PUBLIC LICENSE", "gpl-3.0"),
    ("BSD 3-Clause", "bsd-3-clause"),
    ("Mozilla Public License", "mpl-2.0"),
)


def read(card: bytes) -> dict[str, list[str]]:
    """Return the fields of a card, each as a list of its values; empty if the card has no front matter."""
    lines = card.decode("utf-8", "replace").lstrip("\ufeff").splitlines()
    if not lines or lines[0].strip() != "---":
        return {}
    fields: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines[1:]:
        if line.strip() == "---":
            return fields
        key, colon, value = line.partition(":")
        if line.lstrip().startswith("- "):
            current.append(_plain(line.lstrip()[2:]))
        elif colon and key and not key[0].isspace() and not key.startswith("#"):
            current = _values(value.strip())
            fields[key.strip()] = current
    return {}  # it never ends


def license_name(card: bytes, license_text: bytes) -> str | None:
    """Return the identifier of the license, from the card, or from the first words of the LICENSE file."""
    fields = read(card)
    for key in ("license_name", "license"):
        if (values := fields.get(key)) and values[0] not in ("", "other", "unknown"):
            return values[0][:64]
    text = license_text.decode("utf-8", "replace")
    return next((name for words, name in _LICENSES if words.lower() in text.lower()), None)


def _values(text: str) -> list[str]:
    if text.startswith("[") and text.endswith("]"):
        return [_plain(item) for item in text[1:-1].split(",") if item.strip()]
    return [_plain(text)] if text else []


def _plain(text: str) -> str:
    return text.strip().strip("\"'")
