"""The hierarchy of errors: what edges and clients rely on."""

from collections.abc import Iterator

import pytest

from libs import errors
from libs.errors import SlipwayError

BRANCHES = (
    errors.Invalid,
    errors.Unauthenticated,
    errors.Forbidden,
    errors.NotFound,
    errors.Conflict,
    errors.TooLarge,
    errors.UnsupportedMedia,
    errors.Rejected,
    errors.RateLimited,
    errors.Unavailable,
)


def every(kind: type[SlipwayError]) -> Iterator[type[SlipwayError]]:
    """`kind` and all below it that the module defines."""
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from every(below)


ALL = list(every(SlipwayError))


@pytest.mark.parametrize("kind", ALL)
def test_each_error_says_by_itself_what_is_wrong(kind: type[SlipwayError]) -> None:
    message = kind().message
    assert message.endswith(".")
    assert "\n" not in message
    assert str(kind()) == message
    assert kind.__doc__ == message


@pytest.mark.parametrize("kind", ALL)
def test_each_error_is_of_one_branch_so_that_every_edge_can_map_it(kind: type[SlipwayError]) -> None:
    if kind is not SlipwayError:
        assert sum(issubclass(kind, branch) for branch in BRANCHES) == 1


@pytest.mark.parametrize("kind", ALL)
def test_each_code_is_what_a_client_can_match_on(kind: type[SlipwayError]) -> None:
    assert kind.code
    assert kind.code == kind.code.lower().replace(" ", "_").replace("-", "_")


def test_a_message_of_ones_own_replaces_the_default() -> None:
    error = errors.Invalid("Too long.", param="name", retryable=False, details={"limit": 3})
    assert (error.message, error.param, error.retryable, error.details) == ("Too long.", "name", False, {"limit": 3})
    assert error.retry_after_s is None


def test_details_are_a_copy_of_the_callers() -> None:
    given: dict[str, object] = {"missing": 1}
    error = errors.Conflict(details=given)
    given["missing"] = 2
    assert error.details == {"missing": 1}


def test_unavailable_always_says_when_to_come_back() -> None:
    assert errors.Unavailable().retry_after_s == 2
    assert errors.Unavailable(retry_after_s=30).retry_after_s == 30
