"""Which texts an expression of the source can be, without running it.

An f-string is a text with "…" for what only a run can know. A variable is what was assigned to it before, a parameter
what the callers pass, a constant its value, and a call of one of the functions read what that function returns.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

UNKNOWN = "…"
_MOST_VARIANTS = 12  # of one text
_DEEPEST = 4  # calls followed

Function = ast.FunctionDef | ast.AsyncFunctionDef
_Key = tuple[str, ast.AST | None]


@dataclass(frozen=True)
class Scope:
    """Where an expression stands: what its function's parameters are, each an expression in another scope."""

    bound: Mapping[str, tuple[ast.expr, Scope]] = field(default_factory=dict)
    depth: int = 0


class Sources:
    """The modules below some folders, read as syntax trees."""

    def __init__(self, root: Path, folders: Iterable[str]) -> None:
        self.modules: dict[Path, ast.Module] = {}
        self._parents: dict[ast.AST, ast.AST] = {}
        self._constants: dict[str, ast.expr] = {}
        self._functions: dict[_Key, Function] = {}
        self._calls: dict[_Key, list[ast.Call]] = defaultdict(list)
        for path in sorted(path for folder in folders for path in (root / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            self.modules[path.relative_to(root)] = tree
            self._index(tree)

    def _index(self, tree: ast.Module) -> None:
        for statement in tree.body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                self._constants[statement.targets[0].id] = statement.value
        for node in ast.walk(tree):
            for child in ast.iter_child_nodes(node):
                self._parents[child] = node
            if isinstance(node, Function):
                self._functions[_key(node.name, tree)] = node
            elif isinstance(node, ast.Call) and (name := called(node)):
                self._calls[_key(name, tree)].append(node)

    def scopes(self, call: ast.Call, arguments: Iterable[ast.expr | None], depth: int = 0) -> Iterator[Scope]:
        """One scope for each way in which the function around `call` is called, if `arguments` use its parameters."""
        function = self._function_around(call)
        used = [node for argument in arguments if argument for node in ast.walk(argument)]
        names = {node.id for node in used if isinstance(node, ast.Name)}
        parameters = [each.arg for each in function.args.args if each.arg != "self"] if function else []
        callers = self._callers(function) if function and names & set(parameters) and depth < _DEEPEST else []
        if not callers:
            yield Scope()
            return
        for caller in callers:
            passed = dict(zip(parameters, caller.args, strict=False))
            passed |= {keyword.arg: keyword.value for keyword in caller.keywords if keyword.arg}
            for outer in self.scopes(caller, [passed.get(name) for name in names], depth + 1):
                yield Scope({name: (value, outer) for name, value in passed.items()}, outer.depth + 1)

    def texts(self, node: ast.expr | None, scope: Scope) -> list[str]:
        """The texts that `node` can be; [UNKNOWN] where that cannot be known."""
        found = list(dict.fromkeys(self._texts(node, scope)))[:_MOST_VARIANTS]
        return [text for text in found if text] or [UNKNOWN]

    def _texts(self, node: ast.expr | None, scope: Scope) -> Iterator[str]:
        match node:
            case ast.Constant(value=str(text)):
                yield re.sub(r"\{\w+\}", UNKNOWN, text)
            case ast.Constant(value=int(number)):
                yield f"{number:,}"
            case ast.JoinedStr(values=values):
                yield from self._joined(values, scope)
            case ast.BinOp(left=left, op=ast.Add(), right=right) if isinstance(left, ast.JoinedStr):
                yield from map("".join, product(self.texts(left, scope), self.texts(right, scope)))
            case ast.IfExp(body=body, orelse=orelse):
                yield from self._texts(body, scope)
                yield from self._texts(orelse, scope)
            case ast.BoolOp(values=values):
                for value in values:
                    yield from self._texts(value, scope)
            case ast.Name():
                yield from self._named(node, scope)
            case ast.Attribute(attr=name) if name in self._constants:
                yield from self._texts(self._constants[name], Scope())
            case ast.Call():
                yield from self._returned(node, None, scope)
            case ast.Constant(value=None) | None:
                pass
            case _:
                yield UNKNOWN

    def _joined(self, values: list[ast.expr], scope: Scope) -> Iterator[str]:
        parts = []
        for value in values:
            inner = value.value if isinstance(value, ast.FormattedValue) else value
            known = isinstance(inner, ast.Constant | ast.Name | ast.IfExp)
            parts.append(self.texts(inner, scope) if known and not self._is_result(inner) else [UNKNOWN])
        for text in map("".join, product(*parts)):
            yield re.sub(f"{UNKNOWN}+", UNKNOWN, text)

    def _is_result(self, node: ast.expr) -> bool:
        """Whether `node` is a variable that holds what a function returned."""
        return isinstance(node, ast.Name) and any(isinstance(value, ast.Call) for value, _ in self._assigned(node))

    def _named(self, name: ast.Name, scope: Scope) -> Iterator[str]:
        if name.id in scope.bound:
            value, outer = scope.bound[name.id]
            yield from self._texts(value, outer)
        elif assigned := list(self._assigned(name)):
            for value, position in assigned:
                if position is None:
                    yield from self._texts(value, scope)
                elif isinstance(value, ast.Call):
                    yield from self._returned(value, position, scope)
                else:
                    yield UNKNOWN
        elif name.id in self._constants:
            yield from self._texts(self._constants[name.id], Scope())
        else:
            yield UNKNOWN

    def _returned(self, call: ast.Call, position: int | None, scope: Scope) -> Iterator[str]:
        """What a function of these modules returns; with `position`, that element of the tuple."""
        if isinstance(call.func, ast.Attribute) and call.func.attr == "format":
            yield from self._texts(call.func.value, scope)
            return
        function = self._functions.get(_key(called(call) or "", self._module_of(call)))
        if function is None or scope.depth > _DEEPEST:
            yield UNKNOWN
            return
        for node in ast.walk(function):
            if isinstance(node, ast.Return):
                value = node.value
                if position is not None:
                    value = value.elts[position] if isinstance(value, ast.Tuple) else None
                yield from self._texts(value, Scope(depth=scope.depth + 1))

    def _assigned(self, name: ast.Name) -> Iterator[tuple[ast.expr, int | None]]:
        """What the variable was assigned last: in the nearest statement before, or around, that assigns it."""
        node: ast.AST = name
        while not isinstance(node, Function | ast.Module):
            parent = self._parents[node]
            for block in (getattr(parent, part, None) for part in ("body", "orelse", "handlers", "finalbody")):
                before = block[: block.index(node)] if isinstance(block, list) and node in block else []
                for statement in reversed(before):
                    if found := list(_assignments(statement, name.id)):
                        yield from found
                        return
            if isinstance(parent, ast.If | ast.While) and (found := list(_assignments(parent.test, name.id))):
                yield from found
                return
            node = parent

    def _callers(self, function: Function) -> Sequence[ast.Call]:
        return self._calls.get(_key(function.name, self._module_of(function)), [])

    def _module_of(self, node: ast.AST) -> ast.AST:
        while node in self._parents:
            node = self._parents[node]
        return node

    def _function_around(self, node: ast.AST) -> Function | None:
        while node in self._parents:
            node = self._parents[node]
            if isinstance(node, Function):
                return node
        return None


def _key(function: str, module: ast.AST) -> _Key:
    """What a call and a function have in common: the name, and for a private one the module."""
    return function, module if function.startswith("_") else None


def called(call: ast.Call) -> str | None:
    """The name of the function or method called."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return None


def _assignments(within: ast.AST, name: str) -> Iterator[tuple[ast.expr, int | None]]:
    for node in ast.walk(within):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                yield value, None
            case ast.NamedExpr(target=ast.Name(id=target), value=value) if target == name:
                yield value, None
            case ast.Assign(targets=[ast.Tuple(elts=elements)], value=value):
                for position, element in enumerate(elements):
                    if isinstance(element, ast.Name) and element.id == name:
                        yield value, position
