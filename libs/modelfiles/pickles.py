"""Finds out what a pickle would import, without unpickling anything.

Two independent readings must agree that a pickle is harmless: picklescan, which knows what is dangerous, and this
module's own pass over the opcodes, which follows the memo and takes what it cannot follow for unknown. What is harmless
is what vLLM's `torch.load(weights_only=True)` lets through (torch/_weights_only_unpickler.py).
"""

from __future__ import annotations

import _compat_pickle
import io
import itertools
import logging
import pickletools

import msgspec
from picklescan.scanner import SafetyLevel, scan_pickle_bytes

from libs.modelfiles import vllm

MAX_PICKLE_BYTES = 32 * 1024 * 1024
MAX_OPCODES = 1_000_000  # of a file; a state dict has some 25 a tensor

# Every opcode that torch's weights-only unpickler executes
TORCH_OPCODES = frozenset({
    "APPEND", "APPENDS", "BINFLOAT", "BINGET", "BININT", "BININT1", "BININT2", "BINPERSID", "BINPUT", "BINUNICODE",
    "BUILD", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET", "EMPTY_TUPLE", "GLOBAL", "LONG1", "LONG_BINGET", "LONG_BINPUT",
    "MARK", "NEWFALSE", "NEWOBJ", "NEWTRUE", "NONE", "PROTO", "REDUCE", "SETITEM", "SETITEMS", "SHORT_BINSTRING",
    "STOP", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
})  # fmt: skip
_STRINGS = frozenset(
    {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"}
)
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
# Import by a number that only the unpickling process knows
_EXTENSIONS = frozenset({"EXT1", "EXT2", "EXT4"})
_UNRESOLVED = "?"

# picklescan says on its log what we say in findings
logging.getLogger("picklescan").addHandler(logging.NullHandler())
logging.getLogger("picklescan").propagate = False


class Pickle(msgspec.Struct, frozen=True):
    """One pickle, from its first opcode to STOP."""

    end: int  # exclusive, in the bytes given
    globals: frozenset[str]  # "module.name" of all it imports
    dangerous: frozenset[str]  # of these, what picklescan knows to be
    opcodes: frozenset[str]
    opcode_count: int
    unfinished: str = ""  # why it could not be read to its end
    breaks_off: bool = False  # it is that its bytes are no opcodes

    @property
    def unknown(self) -> frozenset[str]:
        """Imports that neither torch's weights-only unpickler nor picklescan knows to be harmless."""
        return self.globals - vllm.facts().pickle_globals - self.dangerous

    @property
    def torch_would_refuse(self) -> frozenset[str]:
        """Opcodes that torch's weights-only unpickler does not execute."""
        return self.opcodes - TORCH_OPCODES


def looks_like_pickle(head: bytes) -> bool:
    """Whether a file begins as a pickle of protocol 2 or later; the earlier ones have no signature."""
    return len(head) >= 2 and head[0] == 0x80 and head[1] <= 5


def scan(content: bytes, start: int = 0, max_opcodes: int = MAX_OPCODES) -> Pickle:
    """Read the pickle at `start` of `content`. Raises nothing, whatever the pickle contains."""
    own = _own_pass(content, start, max_opcodes)
    dangerous, also = _picklescan(content[start : own.end])
    return msgspec.structs.replace(own, dangerous=dangerous, globals=own.globals | also)


def _own_pass(content: bytes, start: int, max_opcodes: int) -> Pickle:
    stream = io.BytesIO(content)
    stream.seek(start)
    imports = _Imports()
    seen: set[str] = set()
    count = 0
    unfinished = ""
    try:
        for opcode, argument, _ in itertools.islice(pickletools.genops(stream), max_opcodes):
            count += 1
            seen.add(opcode.name)
            imports.step(opcode.name, argument)
        if "STOP" not in seen:
            unfinished = "it has more opcodes than are read"
    except (ValueError, OverflowError) as error:  # what pickletools raises for bytes that are no opcodes
        unfinished = f"it breaks off: {error}"
    return Pickle(
        end=stream.tell(),
        globals=frozenset(imports.found),
        dangerous=frozenset(),
        opcodes=frozenset(seen),
        opcode_count=count,
        unfinished=unfinished,
        breaks_off=unfinished.startswith("it breaks"),
    )


class _Imports:
    """Follows strings through stack top and memo, as far as needed to name what STACK_GLOBAL imports.

    Only two strings that are pushed one right after the other are resolved.
    """

    def __init__(self) -> None:
        self.found: set[str] = set()
        self._last: tuple[str | None, str | None] = (None, None)  # the two topmost, where they are strings
        self._memo: dict[int, str | None] = {}

    def step(self, opcode: str, argument: object) -> None:
        if opcode in _STRINGS:
            self._push(str(argument))
        elif opcode == "MEMOIZE":
            self._memo[len(self._memo)] = self._last[1]
        elif opcode in _PUTS:
            self._memo[int(str(argument))] = self._last[1]
        elif opcode in _GETS:
            self._push(self._memo.get(int(str(argument))))
        elif opcode in ("GLOBAL", "INST"):
            self._import(*str(argument).split(" ", 1))
        elif opcode == "STACK_GLOBAL":
            module, name = self._last
            self._import(module or _UNRESOLVED, name or _UNRESOLVED)
        elif opcode in _EXTENSIONS:
            self._import("copyreg extension", str(argument))
        elif opcode not in ("PROTO", "FRAME"):
            self._last = (None, None)

    def _push(self, text: str | None) -> None:
        self._last = (self._last[1], text)

    def _import(self, module: str, name: str) -> None:
        self.found.add(".".join(_renamed(module, name)))
        self._last = (None, None)


def _renamed(module: str, name: str) -> tuple[str, str]:
    """Map names of Python 2 to those of Python 3, as unpicklers do for protocols below 3."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        return _compat_pickle.NAME_MAPPING[module, name]
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name


def _picklescan(content: bytes) -> tuple[frozenset[str], frozenset[str]]:
    """What picklescan finds: the dangerous imports, and all of them."""
    try:
        result = scan_pickle_bytes(io.BytesIO(content), "pickle", multiple_pickles=False)
    except Exception as error:  # noqa: BLE001  # a foreign parser on hostile bytes: any error means unfinished
        unreadable = frozenset({f"{_UNRESOLVED} (picklescan: {type(error).__name__})"})
        return frozenset(), unreadable
    named = {".".join(_renamed(found.module, found.name)): found.safety for found in result.globals}
    dangerous = {name for name, safety in named.items() if safety is SafetyLevel.Dangerous}
    return frozenset(dangerous), frozenset(named)
