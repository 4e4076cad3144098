"""Reads the tensors of a torch state dict from its pickle, without importing or calling anything.

Steps through the opcodes that torch's weights-only unpickler executes and builds symbols where it would build objects:
a call stays a name with arguments, a storage stays a key. What this cannot step through, torch would not load either.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Iterator
from typing import TypeGuard

import msgspec

from libs.modelfiles.tensors import DTYPE_BITS, Tensor

# torch's names of storages to safetensors' names of types
_STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8",
    "ByteStorage": "U8", "BoolStorage": "BOOL", "ComplexFloatStorage": "C64", "UntypedStorage": "U8",
}  # fmt: skip
_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "complex64": "C64", "uint16": "U16", "uint32": "U32",
    "uint64": "U64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ", "float4_e2m1fn_x2": "F4",
}  # fmt: skip
_REBUILD = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor")
_WRAPPERS = ("_rebuild_parameter", "_rebuild_parameter_with_state")


class Malformed(ValueError):
    """The opcodes are no valid program: for example, the stack is empty, or a memo entry was never put."""


class Storage(msgspec.Struct, frozen=True):
    """A reference to raw elements that lie beside the pickle."""

    key: str
    dtype: str
    element_count: int

    @property
    def size_bytes(self) -> int:
        return self.element_count * DTYPE_BITS[self.dtype] // 8


class Stored(msgspec.Struct, frozen=True):
    """A tensor, and the storage that it is a view of; two names of one tensor share it."""

    tensor: Tensor
    storage: Storage


class _Call(msgspec.Struct, frozen=True):
    function: str
    arguments: object


class _Name(msgspec.Struct, frozen=True):
    full: str


class _Dict(msgspec.Struct):
    items: list[tuple[object, object]]


_MARK = object()
# What opcodes push that have no argument; lists and sets are not looked into
_CONSTANTS = {
    "MARK": _MARK,
    "EMPTY_LIST": _Name("list"),
    "EMPTY_SET": _Name("set"),
    "EMPTY_TUPLE": (),
    "NEWTRUE": True,
    "NEWFALSE": False,
}


def tensors(pickle: bytes) -> dict[str, Stored] | None:
    """The tensors of the state dict in `pickle`, by name; None if its top is no dictionary.

    Raises: Malformed.
    """
    machine = _Machine()
    for opcode, argument in _opcodes(pickle):
        try:
            machine.step(opcode, argument)
        except (IndexError, KeyError, TypeError, AttributeError) as error:
            raise Malformed(f"{opcode} finds nothing that it could work on") from error
    top = machine.stack[-1] if machine.stack else None
    if not isinstance(top, _Dict):
        return None
    found = {str(name): _stored(value) for name, value in top.items if isinstance(name, str)}
    return {name: stored for name, stored in found.items() if stored is not None}


def _opcodes(pickle: bytes) -> Iterator[tuple[str, object]]:
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(pickle)):
            yield opcode.name, argument
    except (ValueError, OverflowError) as error:  # what pickletools raises for bytes that are no opcodes, or for none
        raise Malformed(str(error)) from error


class _Machine:
    """The stack and the memo of an unpickler."""

    def __init__(self) -> None:
        self.stack: list[object] = []
        self._memo: dict[int, object] = {}

    def step(self, opcode: str, argument: object) -> None:
        stack = self.stack
        match opcode:
            case "GLOBAL":
                stack.append(_Name(".".join(str(argument).split(" ", 1))))
            case "BINPUT" | "LONG_BINPUT":
                self._memo[int(str(argument))] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[int(str(argument))])
            case "EMPTY_DICT":
                stack.append(_Dict([]))
            case "TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                self._pack(opcode)
            case "BINPERSID":
                stack[-1] = _storage(stack[-1])
            case "REDUCE" | "NEWOBJ" | "BUILD" | "APPEND" | "APPENDS" | "SETITEM" | "SETITEMS":
                self._combine(opcode)
            case "PROTO" | "STOP":
                pass
            case _:
                stack.append(_CONSTANTS.get(opcode, argument))

    def _pack(self, opcode: str) -> None:
        if opcode == "TUPLE":
            self.stack.append(tuple(self._since_mark()))
            return
        size = int(opcode[-1])
        if len(self.stack) < size:
            raise IndexError(opcode)
        self.stack[-size:] = [tuple(self.stack[-size:])]

    def _combine(self, opcode: str) -> None:
        stack = self.stack
        match opcode:
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                name = function.full if isinstance(function, _Name) else "?"
                is_dict = name in ("collections.OrderedDict", "collections.Counter")
                stack.append(_Dict([]) if is_dict else _Call(name, arguments))
            case "BUILD" | "APPEND":
                _, stack[-1] = stack.pop(), stack[-1]  # what is built upon must be there, and stays
            case "APPENDS":
                _, stack[-1] = self._since_mark(), stack[-1]
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self._dict().items.append((key, value))
            case "SETITEMS":
                items = self._since_mark()
                self._dict().items.extend(zip(items[::2], items[1::2], strict=True))

    def _since_mark(self) -> list[object]:
        items: list[object] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        items.reverse()
        return items

    def _dict(self) -> _Dict:
        top = self.stack[-1]
        if not isinstance(top, _Dict):
            raise TypeError("not a dictionary")
        return top


def _storage(persistent_id: object) -> Storage:
    """The storage that a persistent id names: ("storage", type, key, location, number of elements, …)."""
    if not isinstance(persistent_id, tuple) or len(persistent_id) < 5 or persistent_id[0] != "storage":
        raise TypeError("not a storage")
    _, kind, key, _, count = persistent_id[:5]
    if not isinstance(kind, _Name) or not isinstance(key, str) or type(count) is not int or count < 0:
        raise TypeError("not a storage")
    return Storage(key, _STORAGES.get(kind.full.rpartition(".")[2], "U8"), count)


def _stored(value: object) -> Stored | None:
    """The tensor that `value` would be rebuilt as; None if it is something else."""
    while isinstance(value, _Call) and value.function.startswith("torch._utils."):
        arguments = value.arguments
        name = value.function.rpartition(".")[2]
        if not isinstance(arguments, tuple) or not arguments:
            return None
        if name in _WRAPPERS:
            value = arguments[0]
        elif name in _REBUILD and len(arguments) >= 4:
            return _view(arguments[0], arguments[1], arguments[2], _dtype(arguments))
        else:
            return None
    return None


def _view(storage: object, offset: object, shape: object, dtype: str | None) -> Stored | None:
    if not isinstance(storage, Storage) or type(offset) is not int or not _is_shape(shape):
        return None
    tensor = Tensor(dtype or storage.dtype, shape, 0, 0)
    return Stored(tensor, storage)


def _is_shape(value: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and all(type(side) is int and side >= 0 for side in value)


def _dtype(arguments: tuple[object, ...]) -> str | None:
    """The type that _rebuild_tensor_v3 is given in addition to an untyped storage."""
    for argument in arguments[4:]:
        if isinstance(argument, _Name) and argument.full.startswith("torch."):
            return _DTYPES.get(argument.full.removeprefix("torch."))
    return None
