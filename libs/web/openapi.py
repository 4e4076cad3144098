"""The route table as an OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from libs.web.access import PUBLIC
from libs.web.errors import JSON, ErrorEnvelope
from libs.web.paths import parameters
from libs.web.route import Route

_REF = "#/components/schemas/{name}"
_PROJECT_SERVERS = [
    {"url": "/v1", "description": "The project is the key's."},
    {
        "url": "/{project_id}/v1",
        "description": "The project is named, and has to be the key's.",
        "variables": {"project_id": {"default": "proj_ABC1234567"}},
    },
]


def openapi_document(routes: Sequence[Route[Any]], title: str) -> dict[str, Any]:
    """The document, ready for JSON; every Struct that a route names becomes a schema."""
    kinds = _structs(routes)
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    schema_of = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        item = paths.setdefault(_path(route), {} if route.base == "project" else {"servers": [{"url": "/"}]})
        item[route.method.lower()] = _operation(route, schema_of, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "v1"},
        "servers": _PROJECT_SERVERS,
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                scheme.name: {"type": "http", "scheme": "bearer", "description": scheme.description}
                for scheme in dict.fromkeys(route.access.scheme for route in routes if route.access is not PUBLIC)
            },
        },
    }


def _structs(routes: Sequence[Route[Any]]) -> list[type[msgspec.Struct]]:
    named = [
        kind
        for route in routes
        for kind in (route.body, route.query, route.returns, *route.also.values())
        if kind is not None
    ]
    return list(dict.fromkeys([ErrorEnvelope, *(route.errors.schema for route in routes), *named]))


def _path(route: Route[Any]) -> str:
    return "/" + route.path.strip("/").replace(":path}", "}")


def _operation(
    route: Route[Any], schema_of: dict[type[msgspec.Struct], dict[str, Any]], components: dict[str, Any]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "tags": [_path(route).split("/")[1].split(".")[0]],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in parameters(route.path)
        ],
        "security": _security(route),
        "responses": {
            **_responses(route, schema_of),
            "default": {"description": "It failed; `error.message` says why.", **_json(schema_of[route.errors.schema])},
        },
    }
    if route.query is not None:
        operation["parameters"] += _query_parameters(components[route.query.__name__])
    if route.body is not None:
        schema = components[route.body.__name__]
        operation["requestBody"] = {"required": bool(schema.get("required")), **_json(schema_of[route.body])}
    if route.stream:
        binary = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
        operation["requestBody"] = {"required": True, "content": {"application/octet-stream": binary}}
    return operation


def _responses(route: Route[Any], schema_of: dict[type[msgspec.Struct], dict[str, Any]]) -> dict[str, Any]:
    """The responses of `route` that are no errors, by status."""
    responses: dict[int, dict[str, Any]] = {route.status: _json(schema_of[route.returns]) if route.returns else {}}
    for status, kind in route.also.items():
        either = [schema_of[kind], *([schema_of[route.returns]] if status == route.status and route.returns else [])]
        responses[status] = _json({"anyOf": either} if len(either) > 1 else either[0])
    return {str(status): {"description": "Done.", **response} for status, response in responses.items()}


def _operation_id(route: Route[Any]) -> str:
    words = re.findall(r"[A-Za-z0-9]+", _path(route))
    return "_".join([route.method.lower(), *words])


def _query_parameters(schema: dict[str, Any]) -> list[dict[str, Any]]:
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": of_one}
        for name, of_one in schema["properties"].items()
    ]


def _security(route: Route[Any]) -> list[dict[str, list[str]]]:
    return [] if route.access is PUBLIC else [{route.access.scheme.name: list(route.access.scopes)}]


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {JSON: {"schema": schema}}}
