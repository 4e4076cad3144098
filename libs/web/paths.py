"""Finds the route of a raw path, and decodes its parameters once: `%2F` is a slash in a name, `%25` a per cent sign."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from libs.errors import Invalid
from libs.web.errors import ENVELOPE, ErrorShape
from libs.web.route import Route

PROJECT = "project_id"  # the parameter of the path that names the project
COMPARED = 3  # segments of a path, by whose literals the resources that it may be of are looked up

_Literals = tuple[tuple[int, str], ...]

_PARAMETER = re.compile(r"\{(\w+)(:path)?\}")


@dataclass(frozen=True, slots=True)
class Match:
    """A route, and the values of its path parameters."""

    route: Route[Any]
    params: dict[str, str]


@dataclass(frozen=True, slots=True)
class WrongMethod:
    """The path exists, but not with this method."""

    allowed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Resource:
    """One path with all its methods."""

    rank: int  # of several that fit, the first one wins
    template: str
    pattern: re.Pattern[str]
    routes: dict[str, Route[Any]]

    @property
    def literals(self) -> _Literals:
        """The first segments of its template that are no parameters, by their positions."""
        first = self.template.split("/")[1 : COMPARED + 1]
        return tuple((at, segment) for at, segment in enumerate(first) if "{" not in segment)


class PathTable:
    """The routes of an application by path; where several paths fit, the one with the earlier literal wins.

    `{name}:verb` is more literal than `{name}`, and its name has no colon in it.
    """

    def __init__(self, routes: Iterable[Route[Any]]) -> None:
        """Raises: ValueError if two routes claim the same method and path."""
        by_template: dict[str, dict[str, Route[Any]]] = {}
        shapes: dict[str, ErrorShape] = {}
        for route in routes:
            for template in templates(route):
                methods = by_template.setdefault(template, {})
                if route.method in methods:
                    raise ValueError(f"two routes for {route.method} {template}")
                methods[route.method] = route
            if route.errors is not ENVELOPE:
                shapes |= dict.fromkeys(_stems(route), route.errors)
        self._shapes = [(re.compile(_pattern(stem).pattern + "(?:/.*)?", re.DOTALL), shapes[stem]) for stem in shapes]
        self._resources: dict[_Literals, list[_Resource]] = {}
        for rank, template in enumerate(sorted(by_template, key=_specificity)):
            resource = _Resource(rank, template, _pattern(template), by_template[template])
            self._resources.setdefault(resource.literals, []).append(resource)
        self._positions = {tuple(at for at, _ in literals) for literals in self._resources}

    def errors_at(self, raw_path: str) -> ErrorShape:
        """The shape of errors at a path, whether there is a route or not."""
        return next((shape for pattern, shape in self._shapes if pattern.fullmatch(raw_path)), ENVELOPE)

    def find(self, method: str, raw_path: str) -> Match | WrongMethod | None:
        """The route for a request; WrongMethod if its path has other methods only, None if no route has its path.

        Raises: Invalid if the path is not percent-encoded UTF-8, or has a NUL in it.
        """
        allowed: list[str] = []
        for resource in self._candidates(raw_path):
            found = resource.pattern.fullmatch(raw_path)
            if found is None:
                continue
            route = resource.routes.get(method)
            if route is not None:
                return Match(route, {name: _decode(value) for name, value in found.groupdict().items()})
            allowed += resource.routes
        return WrongMethod(tuple(sorted(set(allowed)))) if allowed else None

    def _candidates(self, raw_path: str) -> Sequence[_Resource]:
        """The resources whose first literals the path has, in their order: a few of all that there are."""
        segments = raw_path.split("/", COMPARED + 1)[1:]
        found: list[_Resource] = []
        for positions in self._positions:
            if not positions or positions[-1] < len(segments):
                found += self._resources.get(tuple((at, segments[at]) for at in positions), ())
        return sorted(found, key=lambda resource: resource.rank)


def templates(route: Route[Any]) -> tuple[str, ...]:
    """Every path that a route is served at, e.g. ("/v1/models/{id}", "/{project_id}/v1/models/{id}")."""
    path = route.path.strip("/")
    if route.base == "root":
        return (f"/{path}",)
    return (f"/v1/{path}", f"/{{{PROJECT}}}/v1/{path}")


def _stems(route: Route[Any]) -> list[str]:
    """What all paths beside a route's begin with: up to the first segment of its own path."""
    below = len(route.path.strip("/").split("/")) - 1
    return ["/".join(template.split("/")[: len(template.split("/")) - below]) for template in templates(route)]


def parameters(template: str) -> list[str]:
    """The names of a template's parameters, in order."""
    return [match.group(1) for match in _PARAMETER.finditer(template)]


def _pattern(template: str) -> re.Pattern[str]:
    parts: list[str] = []
    end = 0
    for match in _PARAMETER.finditer(template):
        parts.append(re.escape(template[end : match.start()]))
        behind = template[match.end() : match.end() + 1].replace("/", "")
        parts.append(f"(?P<{match.group(1)}>{'.+' if match.group(2) else f'[^/{re.escape(behind)}]+'})")
        end = match.end()
    parts.append(re.escape(template[end:]))
    return re.compile("".join(parts), re.DOTALL)


def _specificity(template: str) -> tuple[tuple[int, str], ...]:
    """Sorts literal segments before `{name}:verb`, that before `{name}`, and that before `{name:path}`."""
    return tuple((_openness(segment), segment) for segment in template.split("/"))


def _openness(segment: str) -> int:
    if not segment.startswith("{"):
        return 0
    if segment.endswith(":path}"):
        return 3
    return 2 if segment.endswith("}") else 1


def _decode(raw: str) -> str:
    try:
        value = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid(f"The path is not valid UTF-8 once percent-decoded: '{raw}'.") from None
    if "\0" in value:
        raise Invalid("The path has a NUL character in it, which no name may have.")
    return value
