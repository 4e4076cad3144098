"""From a raw path to its route."""

from typing import Literal

import pytest

from libs.errors import Invalid
from libs.web import Request, Response, Route
from libs.web.paths import Match, PathTable, WrongMethod
from libs.web.route import Method
from tests.unit.web.conftest import MEMBERS


async def handler(_: Request[None]) -> Response:
    return Response()


def route(method: Method, path: str, base: Literal["project", "root"] = "project") -> Route[None]:
    return Route(method, path, handler, summary=f"{method} {path}", base=base, access=MEMBERS)


TABLE = PathTable(
    [
        route("POST", "uploads/{id}"),
        route("POST", "uploads/archive"),
        route("GET", "uploads/{id}"),
        route("PUT", "uploads/{id}/files/{path:path}"),
        route("GET", "models/{id}/files/{path:path}"),
        route("GET", "models/{id}/files"),
        route("GET", "/admin/v1/projects/{id}", base="root"),
        route("GET", "accounts/{account}/models/{model}"),
        route("POST", "accounts/{account}/models/{model}:upload"),
        route("GET", "accounts/{account}/models/{model}:check"),
    ]
)


def found(method: str, path: str) -> tuple[str, dict[str, str]]:
    match = TABLE.find(method, path)
    assert isinstance(match, Match)
    return match.route.path, match.params


@pytest.mark.parametrize(
    ("method", "path", "template", "params"),
    [
        ("GET", "/v1/uploads/u1", "uploads/{id}", {"id": "u1"}),
        ("GET", "/proj_A/v1/uploads/u1", "uploads/{id}", {"project_id": "proj_A", "id": "u1"}),
        ("POST", "/v1/uploads/archive", "uploads/archive", {}),
        ("POST", "/v1/uploads/archive2", "uploads/{id}", {"id": "archive2"}),
        ("GET", "/v1/models/m/files", "models/{id}/files", {"id": "m"}),
        ("GET", "/v1/models/m/files/a.json", "models/{id}/files/{path:path}", {"id": "m", "path": "a.json"}),
        ("GET", "/admin/v1/projects/p", "/admin/v1/projects/{id}", {"id": "p"}),
        ("GET", "/v1/accounts/a/models/m", "accounts/{account}/models/{model}", {"account": "a", "model": "m"}),
        (
            "GET",
            "/v1/accounts/a/models/m:check",
            "accounts/{account}/models/{model}:check",
            {"account": "a", "model": "m"},
        ),
        (
            "POST",
            "/v1/accounts/a/models/%3A:upload",
            "accounts/{account}/models/{model}:upload",
            {"account": "a", "model": ":"},
        ),
        (
            "GET",
            "/v1/accounts/a/models/m:other",
            "accounts/{account}/models/{model}",
            {"account": "a", "model": "m:other"},
        ),
        (
            "GET",
            "/v1/accounts/a/models/m:x:check",
            "accounts/{account}/models/{model}",
            {"account": "a", "model": "m:x:check"},
        ),
    ],
)
def test_a_literal_segment_wins_over_a_parameter(method: str, path: str, template: str, params: dict[str, str]) -> None:
    assert found(method, path) == (template, params)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("a/b/c.bin", "a/b/c.bin"),
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("100%25", "100%"),
        ("%2525", "%25"),
        ("a%2Fb", "a/b"),
        ("%C3%BCber/%E6%A8%A1", "über/模"),
        ("../x", "../x"),
        ("a//b/", "a//b/"),
        ("a%0Ab", "a\nb"),
    ],
)
def test_the_rest_of_a_path_is_decoded_once(raw: str, path: str) -> None:
    assert found("PUT", f"/v1/uploads/u/files/{raw}")[1]["path"] == path


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/uploads", "/v1/uploads/", "/v2/uploads/u", "/a/b/v1/uploads/u", "//"]
)
def test_what_is_no_path_is_none(path: str) -> None:
    assert TABLE.find("GET", path) is None


def test_a_wrong_method_is_told_the_right_ones() -> None:
    assert TABLE.find("DELETE", "/v1/uploads/archive") == WrongMethod(("GET", "POST"))


@pytest.mark.parametrize("raw", ["%FF", "%C3", "a%00b"])
def test_a_path_that_is_no_text_is_invalid(raw: str) -> None:
    with pytest.raises(Invalid):
        TABLE.find("PUT", f"/v1/uploads/u/files/{raw}")


def test_two_routes_for_the_same_are_refused_at_start() -> None:
    with pytest.raises(ValueError, match="two routes for GET"):
        PathTable([route("GET", "models"), route("GET", "/models/")])


def test_a_path_is_compared_only_with_resources_that_begin_like_it() -> None:
    """What a request costs does not grow with the API."""
    table = PathTable(route("GET", f"resource{number}/{{id}}") for number in range(200))
    assert len(table._candidates("/proj_A/v1/resource7/x")) == 1
    assert isinstance(table.find("GET", "/proj_A/v1/resource7/x"), Match)
