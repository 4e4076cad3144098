"""The version of a model that its client does not name."""

from __future__ import annotations

import pytest

from services.gateway.models.versions import next_version


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        ([], "1.0.0"),
        (["1.0.0"], "1.1.0"),
        (["1.9.0", "1.10.0"], "1.11.0"),
        (["2.3.4", "1.0.0"], "2.4.0"),
        (["nightly"], "1.0.0"),
        (["nightly", "1.0.0", "1.0.1-rc1"], "1.1.0"),
    ],
)
def test_next_version_is_one_minor_above_the_highest(existing: list[str], expected: str) -> None:
    assert next_version(existing) == expected
