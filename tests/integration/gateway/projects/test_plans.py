"""Who has a key is found by indexes, by a plan that is made once."""

from __future__ import annotations

import hashlib

from libs.db import transaction
from services.gateway.projects import store
from tests.support.fixtures import PoolFor
from tests.support.plans import recorded, sequential_scans

KEYS = 5000
_GIVEN = f"""
INSERT INTO project (id, name, slug)
SELECT 'proj_BBBBB' || lpad(n::text, 5, '0'), 'large ' || n, 'large' || n FROM generate_series(1, {KEYS}) AS n;
INSERT INTO project_feature (project_id, feature) SELECT id, 'model_sharing' FROM project;
INSERT INTO member (id, project_id, name, role) SELECT 'member' || slug, id, 'Ann', 'admin' FROM project;
INSERT INTO api_key (id, project_id, sha256, prefix, scopes, role, member_id)
SELECT slug, id, sha256(slug::bytea), slug, ARRAY['models'], 'admin', 'member' || slug FROM project;
ANALYZE project, project_feature, member, api_key;
"""


async def test_a_key_is_looked_up_by_indexes_and_without_planning_each_time(pool_for: PoolFor) -> None:
    pool = await pool_for("gateway")
    async with transaction(pool) as tx:
        await tx.execute(_GIVEN)
    async with transaction(pool) as tx:
        for number in range(20):
            digests = [hashlib.sha256(f"large{number * 100 + n}".encode()).digest() for n in range(1 + number % 3)]
            with recorded(tx) as statements:
                found = await store.holders(tx, digests)
            assert len(found) == len(digests) - (number == 0)
            assert {(each.role, *each.features) for each in found.values()} <= {("admin", "model_sharing")}
        assert await sequential_scans(tx, statements) == set()
        plans = await tx.fetchrow(
            """
            SELECT custom_plans, generic_plans FROM pg_prepared_statements
             WHERE statement LIKE '%api_key.sha256 = ANY%'
            """
        )
    assert plans["generic_plans"] > plans["custom_plans"]
