"""A page of a large catalog is found by indexes, whatever is asked for, and looks at few models where many match."""

from __future__ import annotations

import json

import pytest

from libs.db import Pool, Tx, transaction
from services.gateway.catalog import listing, schemas, store
from services.gateway.catalog.schemas import ListCatalog
from tests.support.fixtures import PoolFor
from tests.support.plans import Statements, recorded, sequential_scans

MODELS = 20_000
PROJECTS = 5000
_GIVEN = f"""
INSERT INTO project (id, name, slug)
SELECT 'proj_BBBBB' || lpad(n::text, 5, '0'), 'large ' || n, 'large' || n FROM generate_series(0, {PROJECTS - 1}) AS n;
INSERT INTO project_feature (project_id, feature) SELECT id, 'model_sharing' FROM project;
INSERT INTO model (id, project_id, name, version, is_latest, status, is_shared, shared_at, architecture, quantization)
SELECT 'm' || n, 'proj_BBBBB' || lpad((n % {PROJECTS})::text, 5, '0'), 'model ' || n, '1.0.0', true, 'ready', true,
       now() - n * interval '1 second', CASE WHEN n % 5000 = 1 THEN 'BertModel' ELSE 'LlamaForCausalLM' END,
       CASE WHEN n % 2 = 1 THEN 'awq' END
  FROM generate_series(1, {MODELS}) AS n;
ANALYZE project, project_feature, model;
"""
FOUND = {  # query -> the numbers of the first models found
    ListCatalog(): [1, 2, 3],
    ListCatalog(after="m12000"): [12001, 12002, 12003],
    ListCatalog(q="m"): [1, 2, 3],
    ListCatalog(q="model"): [1, 2, 3],
    ListCatalog(q="Model 1999"): [1999, 19990, 19991],
    ListCatalog(q="19998"): [19998],
    ListCatalog(q="telepathy"): [],
    ListCatalog(q="zz"): [],
    ListCatalog(quantization="awq"): [1, 3, 5],
    ListCatalog(architecture="BertModel"): [1, 5001, 10001],
    ListCatalog(architecture="BertModel", q="01", after="m5001"): [10001, 15001],
    ListCatalog(owner="large7"): [7, 5007, 10007],
    ListCatalog(owner="large7", q="15007"): [15007],
}


@pytest.fixture
async def large(pool_for: PoolFor) -> Pool:
    """A large catalog, with statistics, as Postgres has after a while."""
    pool = await pool_for("gateway")
    async with transaction(pool) as tx:
        await tx.execute(_GIVEN)
    return pool


async def first_three(tx: Tx, query: schemas.ListCatalog) -> list[int]:
    after = await store.place_of(tx, query.after) if query.after else store.TOP
    assert after is not None
    return [int(each.id[1:]) for each in await listing.page(tx, query, after, 3)]


async def rows_read(tx: Tx, statements: Statements) -> int:
    """How many rows of all tables these statements look at, if executed again."""
    read = 0.0
    for query, arguments in statements.seen:
        [explained] = json.loads(await tx.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *arguments))
        nodes = [explained["Plan"]]
        while nodes:
            node = nodes.pop()
            nodes += node.get("Plans", [])
            if node.get("Relation Name"):
                passed_over = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
                read += (node["Actual Rows"] + passed_over) * node["Actual Loops"]
    return round(read)


async def test_every_question_to_a_large_catalog_is_answered_by_indexes(large: Pool) -> None:
    found, scanned, read = {}, {}, {}
    async with transaction(large) as tx:
        for query in FOUND:
            with recorded(tx) as statements:
                found[query] = await first_three(tx, query)
            scanned[query] = await sequential_scans(tx, statements)
            read[query] = await rows_read(tx, statements)
    assert found == FOUND
    assert scanned == {query: set() for query in FOUND}
    assert {query: rows for query, rows in read.items() if rows > 2 * listing.LOOKED_AT + 100} == {}
    async with transaction(large) as tx:
        with recorded(tx) as statements:
            one = await store.get(tx, "m17")
            named = await store.standing(tx, "proj_BBBBB00027", "model 27")
        assert await sequential_scans(tx, statements) == set()
    assert one is not None
    assert named is not None
    assert (one.id, named.id, named.listed) == ("m17", "m27", True)
