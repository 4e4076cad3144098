"""docs/findings.md names every rule, and every rule has a test that finds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.docs.findings import rule_ids
from tests.support.hostile import hostile_archives
from tests.unit.validator.test_rules import FOUND

TESTS = Path(__file__).parents[1]
IDS = sorted(rule_ids())
# By operators and deadlines, not by files: tests/integration/gateway looks at their messages
_OF_PROCESSING = {"processing-failed", "processing-timeout"}


def test_every_rule_that_is_found_is_on_the_page() -> None:
    found = {rule for _, rule, *_ in FOUND.values()} | {hostile.rule for hostile in hostile_archives()}
    lacking = sorted(found - set(IDS))
    assert lacking == [], f"deploy/docs/findings.py does not see the code that makes {lacking}"


@pytest.fixture(scope="module")
def tests() -> str:
    """The text of all tests but those of this folder."""
    return "\n".join(path.read_text() for path in sorted(TESTS.rglob("*.py")) if path.parent != Path(__file__).parent)


@pytest.mark.parametrize("rule", sorted(set(IDS) - _OF_PROCESSING))
def test_every_rule_is_found_by_a_test(rule: str, tests: str) -> None:
    if f'"{rule}"' not in tests:
        pytest.fail(f"{rule}: add a case to tests/unit/validator/test_rules.py, or to the tests of its library")
