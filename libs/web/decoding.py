"""Decodes JSON bodies and query strings into Structs; errors name the field."""

from __future__ import annotations

import re
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from libs.errors import Invalid, UnsupportedMedia
from libs.web.validation_messages import explain, explain_all

T = TypeVar("T", bound=msgspec.Struct)

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def decode_body(kind: type[T], raw: bytes, content_type: str) -> T:
    """A JSON body as `kind`; an empty one stands for `{}`.

    The declared content type is looked at only when the body is not JSON: `curl -d` declares a form and sends JSON.
    Raises: Invalid, naming the first wrong field and what is expected, and in `details` all, if there are several;
    UnsupportedMedia.
    """
    try:
        try:
            body = msgspec.json.decode(raw or b"{}", type=kind)
        except msgspec.ValidationError as error:
            value = msgspec.json.decode(raw or b"{}")  # what follows the field may not even be JSON
            raise explain_all(str(error), kind, value) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if content_type and not _may_be_json(content_type):
            raise UnsupportedMedia(f"This route takes application/json, not {content_type}.") from None
        raise Invalid(f"The body is not valid JSON: {error}.") from None
    if _NUL.search(raw):
        raise Invalid("The body has a NUL character (\\u0000) in a text, which no field may have.")
    return body


def decode_query(kind: type[T], query_string: str) -> T:
    """The raw query string (still percent-encoded) as `kind`; of a repeated name the last counts, unknown ones do not.

    Raises: Invalid, naming the parameter and what is expected.
    """
    try:
        pairs = parse_qsl(query_string, keep_blank_values=True, errors="strict")
    except ValueError:
        raise Invalid("The query string is not valid UTF-8 once percent-decoded, or has too many fields.") from None
    values = dict(pairs)
    for name, value in values.items():
        if "\0" in value:
            raise Invalid(f"Invalid '{name}': it has a NUL character in it.", param=name)
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise explain(str(error), kind, values) from None


def _may_be_json(content_type: str) -> bool:
    """Whether a body of this type may be JSON: it is declared as JSON, or by a default of common clients."""
    plain = content_type.split(";")[0].strip().lower()
    return plain.endswith(("/json", "+json")) or plain in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
    )
