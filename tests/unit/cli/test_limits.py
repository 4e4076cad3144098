"""Values of limits are written as people write them."""

from __future__ import annotations

import click
import pytest

from libs.cli.limits import _wanted


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("500", 500),
        ("1_000", 1000),
        ("10GB", 10**10),
        ("10 gb", 10**10),
        ("1.5GiB", 3 * 2**29),
        ("2T", 2 * 10**12),
        ("none", "none"),
        ("default", None),
    ],
)
def test_a_value_is_a_number_with_a_unit_or_a_word(text: str, value: int | str | None) -> None:
    assert _wanted([f"stored_bytes={text}"]) == {"stored_bytes": value}


@pytest.mark.parametrize(
    "change", ["stored_bytes", "stored_bytes=", "stored_bytes=much", "stored_bytes=-1", "models=1.5"]
)
def test_what_is_no_value_is_refused(change: str) -> None:
    with pytest.raises(click.UsageError):
        _wanted([change])
