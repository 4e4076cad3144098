"""What a client is told of a body or query that does not fit: the field, and what would."""

from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pytest

from libs.errors import IntegerAboveMaximum, IntegerBelowMinimum, Invalid, UnsupportedMedia
from libs.web.decoding import decode_body, decode_query


class Kind(Enum):
    RAW = "raw"
    TAR = "tar"


class File(msgspec.Struct):
    path: str
    size: Annotated[int, msgspec.Meta(ge=0)]
    kind: Kind = Kind.RAW


class Body(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=5)] = "x"
    format: Literal["tar", "tar.gz"] = "tar"
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    files: list[File] = []
    by_name: dict[str, Literal["a", "b"]] = {}
    maybe: Literal["p", "q"] | None = None
    slug: Annotated[str, msgspec.Meta(pattern="^[a-z]+$", description="lower-case letters")] | None = None
    code: Annotated[str, msgspec.Meta(pattern="^[0-9]$")] = "0"


class Required(msgspec.Struct):
    model_name: str
    inner: File | None = None


class Page(msgspec.Struct):
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    after: str | None = None
    extended: bool = False


@pytest.mark.parametrize(
    ("raw", "param", "message"),
    [
        (b'{"name": 1}', "name", "Invalid 'name': expected str, got int."),
        (b'{"name": ""}', "name", "Invalid 'name': expected str of length >= 1, but got '' instead."),
        (b'{"name": "abcdef"}', "name", "Invalid 'name': expected str of length <= 5, but got 'abcdef' instead."),
        (b'{"format": "zip"}', "format", "Invalid 'format': expected one of 'tar', 'tar.gz', but got 'zip' instead."),
        (b'{"maybe": "z"}', "maybe", "Invalid 'maybe': expected one of 'p', 'q', but got 'z' instead."),
        (
            b'{"files": [{"path": "a", "size": 1}, {"path": "b", "size": "2"}]}',
            "files[1].size",
            "Invalid 'files[1].size': expected int, got str.",
        ),
        (b'{"files": [{"size": 1}]}', "files[0].path", "Missing required field 'files[0].path'."),
        (
            b'{"files": [{"path": "a", "size": 1, "kind": "zip"}]}',
            "files[0].kind",
            "Invalid 'files[0].kind': expected one of 'raw', 'tar', but got 'zip' instead.",
        ),
        (b'{"slug": "A1"}', "slug", "Invalid 'slug': expected lower-case letters, but got 'A1' instead."),
        (b'{"code": "x"}', "code", "Invalid 'code': expected str matching regex '^[0-9]$', but got 'x' instead."),
        (b"[]", None, "Invalid body: expected object, got array."),
    ],
)
def test_a_field_that_does_not_fit_is_named_with_what_would(raw: bytes, param: str | None, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        decode_body(Body, raw, "application/json")
    assert (caught.value.param, caught.value.message) == (param, message)


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    model_name: str
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    files: list[File] = []


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b'{"limit": 0, "model_name": 1}', ["limit", "model_name"]),
        (b'{"limit": "x"}', ["limit", "model_name"]),
        (b'{"color": 1, "size": 2, "model_name": "m"}', ["color", "size"]),
        (b'{"files": [{"path": 1}], "limit": 101, "model_name": "m"}', ["files[0].path", "limit"]),
    ],
)
def test_several_wrong_fields_are_all_listed_the_first_first(raw: bytes, named: list[str]) -> None:
    with pytest.raises(Invalid) as caught:
        decode_body(Strict, raw, "application/json")
    errors: Any = caught.value.details["errors"]
    assert [each["param"] for each in errors] == named
    assert (caught.value.param, caught.value.code) == (named[0], errors[0]["code"])
    assert caught.value.message.startswith(errors[0]["message"])
    assert all(f"'{name}'" in caught.value.message for name in named)


@pytest.mark.parametrize("raw", [b'{"limit": 0, "model_name": "m"}', b"{}", b"[]", b'{"model_name": "m", "color": 1}'])
def test_one_wrong_field_is_no_list(raw: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        decode_body(Strict, raw, "application/json")
    assert caught.value.details == {}


def test_an_unknown_field_is_named_with_those_there_are() -> None:
    with pytest.raises(Invalid, match="Unknown field 'color'; the fields are model_name, limit, files") as caught:
        decode_body(Strict, b'{"model_name": "m", "color": 1}', "application/json")
    assert caught.value.param == "color"


def test_an_integer_out_of_bounds_has_the_code_that_clients_know() -> None:
    with pytest.raises(IntegerAboveMaximum) as above:
        decode_query(Page, "limit=101")
    assert above.value.code == "integer_above_max_value"
    assert above.value.message == (
        "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead."
    )
    with pytest.raises(IntegerBelowMinimum) as below:
        decode_body(Body, b'{"limit": 0}', "application/json")
    assert below.value.message == (
        "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead."
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"nope",
        b'{"name": 1',
        b'{"name": 1, "code": "\\ud800"}',
        b'{"name": "\xff"}',
        b"\xff",
        b'{"a": ' + b"[" * 100_000,
    ],
)
def test_what_is_not_json_is_invalid(raw: bytes) -> None:
    with pytest.raises(Invalid, match="not valid JSON"):
        decode_body(Body, raw, "application/json")


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json; charset=utf-8", "application/x-www-form-urlencoded", "text/plain", "image/png"],
)
def test_json_is_json_whatever_it_is_declared_as(content_type: str) -> None:
    assert decode_body(Body, b'{"name": "a"}', content_type).name == "a"


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "application/gzip", "image/png"])
def test_a_body_that_neither_is_nor_claims_to_be_json_is_unsupported(content_type: str) -> None:
    with pytest.raises(UnsupportedMedia, match="application/json"):
        decode_body(Body, b"--x", content_type)


def test_an_empty_body_stands_for_no_fields() -> None:
    assert decode_body(Body, b"", "") == Body()
    with pytest.raises(Invalid, match=r"Missing required field 'model_name'\."):
        decode_body(Required, b"", "")


@pytest.mark.parametrize(
    ("raw", "accepted"), [(rb'"a\u0000"', False), (rb'"a\\u0000"', True), (rb'"a\\\u0000"', False)]
)
def test_a_nul_character_is_refused_since_postgres_would(raw: bytes, accepted: bool) -> None:
    body = b'{"model_name": ' + raw + b"}"
    if accepted:
        assert decode_body(Required, body, "").model_name == r"a\u0000"
        return
    with pytest.raises(Invalid, match="NUL"):
        decode_body(Required, body, "")


@pytest.mark.parametrize(
    ("query", "page"),
    [
        ("", Page()),
        ("limit=5&after=m%C3%BC+x", Page(5, "mü x")),
        ("extended=true", Page(extended=True)),
        ("unknown=1&limit=2", Page(2)),
        ("limit=1&limit=3", Page(3)),
    ],
)
def test_a_query_is_decoded_from_text(query: str, page: Page) -> None:
    assert decode_query(Page, query) == page


@pytest.mark.parametrize("query", ["limit=x", "limit=", "extended=perhaps", "after=%FF", "after=%00"])
def test_a_query_that_does_not_fit_is_invalid(query: str) -> None:
    with pytest.raises(Invalid):
        decode_query(Page, query)
