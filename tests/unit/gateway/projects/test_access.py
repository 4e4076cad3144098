"""What each key opens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from libs.errors import FeatureNotEnabled, Forbidden, NotFound, ScopeRequired
from libs.web import Access, Principal
from services.gateway.projects.access import OPERATOR, READ_MODELS, SHARE_MODELS, Operator, ProjectAccess, ProjectKey

KEY = ProjectKey(project_id="proj_MINE", project_slug="mine", key_id="key_1", scopes=frozenset({"models"}))
SHARING = replace(KEY, features=frozenset({"model_sharing", "one of the next release"}))
ANY_KEY = ProjectAccess(None)
BATCHES = ProjectAccess("batches")


@pytest.mark.parametrize(
    ("principal", "access", "project_id", "refusal"),
    [
        (KEY, ANY_KEY, None, None),
        (KEY, ANY_KEY, "proj_MINE", None),
        (KEY, ANY_KEY, "proj_OTHER", NotFound),
        (KEY, READ_MODELS, None, None),
        (KEY, BATCHES, None, ScopeRequired),
        (KEY, BATCHES, "proj_OTHER", NotFound),
        (KEY, OPERATOR, None, Forbidden),
        (Operator(), OPERATOR, None, None),
        (Operator(), ANY_KEY, "proj_MINE", Forbidden),
        (Operator(), READ_MODELS, None, Forbidden),
        (KEY, SHARE_MODELS, None, FeatureNotEnabled),
        (replace(KEY, role="admin"), SHARE_MODELS, None, FeatureNotEnabled),
        (SHARING, SHARE_MODELS, None, Forbidden),
        (replace(SHARING, role="admin"), SHARE_MODELS, None, None),
        (replace(SHARING, role="admin", scopes=frozenset()), SHARE_MODELS, None, ScopeRequired),
        (replace(SHARING, role="admin"), SHARE_MODELS, "proj_OTHER", NotFound),
    ],
)
def test_a_key_opens_what_its_scopes_and_project_say(
    principal: Principal, access: Access, project_id: str | None, refusal: type[Exception] | None
) -> None:
    if refusal is None:
        access.authorize(principal, project_id)
        return
    with pytest.raises(refusal) as caught:
        access.authorize(principal, project_id)
    assert type(caught.value) is refusal


def test_a_scope_is_what_the_documentation_shows() -> None:
    assert (list(BATCHES.scopes), list(ANY_KEY.scopes), list(OPERATOR.scopes)) == (["batches"], [], [])
    assert list(SHARE_MODELS.scopes) == ["models:write", "feature:model_sharing", "role:admin"]
