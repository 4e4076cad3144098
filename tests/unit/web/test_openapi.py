"""The description comes from the table, and tells the truth of it."""

from typing import Annotated, Any

import msgspec

from libs.web import PUBLIC, Request, Response, Route, SecurityScheme
from libs.web.openapi import openapi_document
from tests.unit.web.conftest import MEMBERS, MembersOnly


class Wanted(msgspec.Struct):
    """What is wanted."""

    name: str


class Page(msgspec.Struct):
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20


class OperatorsOnly(MembersOnly):
    scheme = SecurityScheme("operator", "The operator's key.")
    scopes = ()


OPERATORS = OperatorsOnly()


async def handler(_: Request[None]) -> Response:
    return Response()


ROUTES = [
    Route("POST", "things", handler, summary="Make", body=Wanted, returns=Wanted, status=201, access=MEMBERS),
    Route(
        "GET",
        "things",
        handler,
        summary="List",
        query=Page,
        returns=Page,
        also={200: Wanted, 202: Wanted},
        access=MEMBERS,
    ),
    Route("PUT", "things/{id}/files/{path:path}", handler, summary="Send", stream=True, access=MEMBERS),
    Route("GET", "/livez", handler, summary="Alive", access=PUBLIC, base="root"),
    Route("GET", "/admin/v1/x", handler, summary="Operate", access=OPERATORS, base="root"),
]


def document() -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(openapi_document(ROUTES, "Test")))
    return plain


def test_every_route_is_there_once() -> None:
    paths = document()["paths"]
    described = {(path, method) for path, item in paths.items() for method in item if method != "servers"}
    assert described == {
        ("/things", "post"),
        ("/things", "get"),
        ("/things/{id}/files/{path}", "put"),
        ("/livez", "get"),
        ("/admin/v1/x", "get"),
    }


def test_bodies_queries_answers_and_security_are_those_of_the_route() -> None:
    paths = document()["paths"]
    make, page = paths["/things"]["post"], paths["/things"]["get"]
    schema = {"$ref": "#/components/schemas/Wanted"}
    assert make["requestBody"] == {"required": True, "content": {"application/json": {"schema": schema}}}
    assert make["responses"]["201"]["content"]["application/json"]["schema"] == schema
    assert make["security"] == [{"key": ["models"]}]
    answers = {status: answer["content"]["application/json"]["schema"] for status, answer in page["responses"].items()}
    assert answers["200"] == {"anyOf": [schema, {"$ref": "#/components/schemas/Page"}]}
    assert answers["202"] == schema
    [limit] = page["parameters"]
    assert (limit["name"], limit["required"], limit["schema"]["maximum"]) == ("limit", False, 100)
    assert paths["/livez"]["get"]["security"] == []
    assert paths["/admin/v1/x"]["get"]["security"] == [{"operator": []}]
    assert [parameter["name"] for parameter in paths["/things/{id}/files/{path}"]["put"]["parameters"]] == [
        "id",
        "path",
    ]


def test_every_reference_leads_somewhere_and_every_id_is_its_own() -> None:
    whole = document()
    text = msgspec.json.encode(whole).decode()
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in whole["components"]["schemas"]
    ids = [
        operation["operationId"]
        for item in whole["paths"].values()
        for key, operation in item.items()
        if key != "servers"
    ]
    assert len(ids) == len(set(ids))


def test_project_routes_are_served_below_both_bases_and_others_at_the_root() -> None:
    whole = document()
    assert [server["url"] for server in whole["servers"]] == ["/v1", "/{project_id}/v1"]
    assert whole["paths"]["/livez"]["servers"] == [{"url": "/"}]


def test_every_kind_of_token_that_a_route_takes_is_described() -> None:
    bearer = {"type": "http", "scheme": "bearer"}
    assert document()["components"]["securitySchemes"] == {
        "key": {**bearer, "description": "A key."},
        "operator": {**bearer, "description": "The operator's key."},
    }
