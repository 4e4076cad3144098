"""Messages for values that do not fit their type: which field, what was expected, what came instead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from libs.errors import IntegerAboveMaximum, IntegerBelowMinimum, Invalid

# msgspec's messages: "Expected `int`, got `str` - at `$.files[1].size`", "Object missing required field `name`"
_AT = re.compile(r"^(?P<what>.*) - at `(?:key in )?\$(?P<path>.*)`$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(.+)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(.+)`$", re.DOTALL)
_BOUND = re.compile(r"^Expected `int` (<=|<|>=|>) (-?\d+)$")
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+)\]|\[\.\.\.\]")


def explain_all(text: str, kind: type[msgspec.Struct], value: object) -> Invalid:
    """As `explain`; where several fields of a body are wrong, for the first, with all in its `details`.

    `details` then has `errors`: a list of {param, message, code}, in the order of the body.
    """
    wrong = list(_wrong_fields(kind, value)) if isinstance(value, dict) else []
    if len(wrong) < 2:
        return explain(text, kind, value)
    first, *others = wrong
    named = ", ".join(_short(each.param) for each in others)
    listed = [{"param": each.param, "message": each.message, "code": each.code} for each in wrong]
    message = f"{first.message} Also wrong, see 'errors': {named}."
    return type(first)(message, param=first.param, details={"errors": listed})


def explain(text: str, kind: type[msgspec.Struct], value: object) -> Invalid:
    """The error for `value`, which is no valid `kind`; `text` is msgspec's own message."""
    what, path = _split(text)
    if unknown := _UNKNOWN.match(what):
        return _unknown_field(unknown.group(1), kind, path)
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
    if " matching regex " in what and (description := _description(kind, path)):
        what = f"Expected {description}"
    return Invalid(f"{subject}: {_plain(what, given)}.", param=param)


def _wrong_fields(kind: type[msgspec.Struct], value: dict[str, Any]) -> Iterator[Invalid]:
    """An error for each field of a body that is wrong, unknown or missing."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name, given in value.items():
        if name in fields:
            try:
                msgspec.convert(given, fields[name].type)
            except msgspec.ValidationError as error:
                what, path = _split(str(error))
                yield explain(f"{what} - at `$.{name}{path}`", kind, value)
        elif kind.__struct_config__.forbid_unknown_fields:
            yield _unknown_field(name, kind, "")
    for name in fields:
        if fields[name].required and name not in value:
            yield Invalid(f"Missing required field '{name}'.", param=name)


def _unknown_field(name: str, kind: type[msgspec.Struct], path: str) -> Invalid:
    param = f"{path}.{name}".lstrip(".")
    if path:
        return Invalid(f"Unknown field {_short(param)}.", param=param)
    known = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
    return Invalid(f"Unknown field {_short(param)}; the fields are {known}.", param=param)


def _split(text: str) -> tuple[str, str]:
    """The problem, and the path to the field: ("Expected `int`, got `str`", ".files[1].size")."""
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
    """`what` without backquotes, in lower case at its beginning, and with the value if msgspec left it out."""
    sentence = what.replace("`", "")
    sentence = sentence[:1].lower() + sentence[1:]
    return sentence if ", got " in sentence else f"{sentence}, but got {_short(given)} instead"


def _short(value: object) -> str:
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= 100 else text[:100] + "…"


def _value_at(value: object, path: str) -> object:
    """The part of a decoded value at msgspec's `path` (".files[1].size"); None if the path does not lead to one."""
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
    values: list[Any] = []
    for node in _flat(_types_at(kind, path)):
        if isinstance(node, msgspec.inspect.LiteralType):
            values += node.values
        elif isinstance(node, msgspec.inspect.EnumType):
            values += [member.value for member in node.cls]
    return values


def _description(kind: type[msgspec.Struct], path: str) -> str | None:
    """The description of the type at `path` (Meta(description=…)), which is easier to read than its pattern."""
    for node in _types_at(kind, path):
        options = node.types if isinstance(node, msgspec.inspect.UnionType) else (node,)
        for option in options:
            if isinstance(option, msgspec.inspect.Metadata) and option.extra_json_schema:
                return option.extra_json_schema.get("description")
    return None


def _types_at(kind: type[msgspec.Struct], path: str) -> list[msgspec.inspect.Type]:
    nodes: list[msgspec.inspect.Type] = [msgspec.inspect.type_info(kind)]
    for step in _STEP.finditer(path):
        nodes = [inner for node in nodes for inner in _inside(node, step["name"])]
    return nodes


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
