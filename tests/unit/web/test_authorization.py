"""Who may call what."""

import dataclasses
from typing import Any

import pytest

from libs.errors import Forbidden, NotFound, ScopeRequired
from libs.web import Principal, Request, Response, Route
from libs.web.app import authorize
from tests.unit.web.conftest import MEMBER, OPERATOR

ADMIN = dataclasses.replace(MEMBER, role="admin")


async def handler(_: Request[None]) -> Response:
    return Response()


def route(**rules: Any) -> Route:
    return Route("GET", "x", handler, summary="", **rules)


@pytest.mark.parametrize(
    ("principal", "rules", "project_id", "refusal"),
    [
        (MEMBER, {}, None, None),
        (MEMBER, {}, "proj_MINE", None),
        (MEMBER, {}, "proj_OTHER", NotFound),
        (MEMBER, {"scope": "models"}, None, None),
        (MEMBER, {"scope": "batches"}, None, ScopeRequired),
        (MEMBER, {"scope": "batches"}, "proj_OTHER", NotFound),
        (MEMBER, {"role": "admin"}, None, Forbidden),
        (ADMIN, {"role": "admin"}, None, None),
        (MEMBER, {"operator": True}, None, Forbidden),
        (ADMIN, {"operator": True}, None, Forbidden),
        (OPERATOR, {"operator": True}, None, None),
        (OPERATOR, {}, "proj_MINE", Forbidden),
        (OPERATOR, {"scope": "models"}, None, Forbidden),
    ],
)
def test_a_key_opens_what_its_scopes_role_and_project_say(
    principal: Principal, rules: dict[str, Any], project_id: str | None, refusal: type[Exception] | None
) -> None:
    if refusal is None:
        authorize(route(**rules), principal, project_id)
        return
    with pytest.raises(refusal) as caught:
        authorize(route(**rules), principal, project_id)
    assert type(caught.value) is refusal
