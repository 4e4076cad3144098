"""JSON bodies and query strings -> Structs; what does not fit is explained by field, with what would."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from libs.errors import IntegerAboveMaximum, IntegerBelowMinimum, Invalid, UnsupportedMedia

T = TypeVar("T", bound=msgspec.Struct)

# msgspec's messages: "Expected `int`, got `str` - at `$.files[1].size`", "Object missing required field `name`"
_AT = re.compile(r"^(?P<what>.*) - at `(?:key in )?\$(?P<path>.*)`$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(.+)`$")
_BOUND = re.compile(r"^Expected `int` (<=|<|>=|>) (-?\d+)$")
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+)\]|\[\.\.\.\]")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def decode_body(kind: type[T], raw: bytes, content_type: str) -> T:
    """A JSON body as `kind`; an empty one stands for `{}`.

    The declared content type is looked at only when the body is not JSON: `curl -d` declares a form and sends JSON.
    Raises: Invalid, naming the field and what is expected; UnsupportedMedia.
    """
    try:
        body = msgspec.json.decode(raw or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise explain(str(error), kind, msgspec.json.decode(raw or b"{}")) from None
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


def explain(text: str, kind: type[msgspec.Struct], value: object) -> Invalid:
    """msgspec's complaint `text` about `value`, which should have been a `kind`, in a client's words."""
    what, path = _split(text)
    if missing := _MISSING.match(what):
        name = f"{path}.{missing.group(1)}".lstrip(".")
        return Invalid(f"Missing required field '{name}'.", param=name)
    param = path.lstrip(".") or None
    subject = f"Invalid '{param}'" if param else "Invalid body"
    given = _value_at(value, path)
    if bound := _BOUND.match(what):
        return _out_of_bounds(subject, bound.group(1), int(bound.group(2)), given, param)
    if what.startswith("Invalid enum value"):
        choices = ", ".join(f"'{choice}'" for choice in _choices(kind, path))
        return Invalid(f"{subject}: expected one of {choices}, but got {_short(given)} instead.", param=param)
    return Invalid(f"{subject}: {_plain(what, given)}.", param=param)


def _split(text: str) -> tuple[str, str]:
    """What is wrong, and the path to where: ("Expected `int`, got `str`", ".files[1].size")."""
    found = _AT.match(text)
    return (found["what"], found["path"]) if found else (text, "")


def _out_of_bounds(subject: str, operator: str, bound: int, given: object, param: str | None) -> Invalid:
    above = operator.startswith("<")
    leaf, side, end = (IntegerAboveMaximum, "above", "maximum") if above else (IntegerBelowMinimum, "below", "minimum")
    return leaf(
        f"{subject}: integer {side} {end} value. Expected a value {operator} {bound}, but got {given} instead.",
        param=param,
    )


def _plain(what: str, given: object) -> str:
    """`what` without its marks, beginning in lower case, and with the value where msgspec leaves it out."""
    sentence = what.replace("`", "")
    sentence = sentence[:1].lower() + sentence[1:]
    return sentence if ", got " in sentence else f"{sentence}, but got {_short(given)} instead"


def _short(value: object) -> str:
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= 100 else text[:100] + "…"


def _value_at(value: object, path: str) -> object:
    """What stands at msgspec's `path` (".files[1].size") in a decoded value; None where that cannot be told."""
    for step in _STEP.finditer(path):
        if isinstance(value, Mapping) and step["name"] is not None:
            value = value.get(step["name"])
        elif isinstance(value, list) and step["index"] is not None:
            value = value[int(step["index"])]
        else:
            return None
    return value


def _choices(kind: type[msgspec.Struct], path: str) -> list[Any]:
    """The values that the Literal or Enum at `path` accepts."""
    nodes: list[msgspec.inspect.Type] = [msgspec.inspect.type_info(kind)]
    for step in _STEP.finditer(path):
        nodes = [inner for node in nodes for inner in _inside(node, step["name"])]
    values: list[Any] = []
    for node in _flat(nodes):
        if isinstance(node, msgspec.inspect.LiteralType):
            values += node.values
        elif isinstance(node, msgspec.inspect.EnumType):
            values += [member.value for member in node.cls]
    return values


def _inside(node: msgspec.inspect.Type, name: str | None) -> list[msgspec.inspect.Type]:
    """The types one step below `node`: of its field `name`, or of its items."""
    inner: list[msgspec.inspect.Type] = []
    for plain in _flat([node]):
        if isinstance(plain, msgspec.inspect.StructType):
            inner += [member.type for member in plain.fields if member.encode_name == name]
        elif isinstance(plain, msgspec.inspect.DictType):
            inner.append(plain.value_type)
        elif isinstance(plain, msgspec.inspect.CollectionType):
            inner.append(plain.item_type)
    return inner


def _flat(nodes: list[msgspec.inspect.Type]) -> list[msgspec.inspect.Type]:
    """`nodes` without the wrappers (unions, metadata) around them."""
    flat: list[msgspec.inspect.Type] = []
    for node in nodes:
        if isinstance(node, msgspec.inspect.UnionType):
            flat += _flat(list(node.types))
        elif isinstance(node, msgspec.inspect.Metadata):
            flat += _flat([node.type])
        else:
            flat.append(node)
    return flat


def _may_be_json(content_type: str) -> bool:
    """Whether a body so declared was meant as JSON: it says so, or it is what clients send when not told."""
    plain = content_type.split(";")[0].strip().lower()
    return plain.endswith(("/json", "+json")) or plain in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
    )
