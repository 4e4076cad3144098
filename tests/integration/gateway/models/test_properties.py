"""Whatever clients do, in whatever order and at the same time: fields, pages and versions stay what they promise."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.contracts import Event, ModelRejected, ModelValidated, ObjectDropped, StoredFile, new_id
from libs.db import Tx, connection, transaction
from libs.errors import SlipwayError, Unavailable
from libs.outbox import emit
from services.gateway.models import deletion, registration, transitions
from services.gateway.models.schemas import QUANTIZATIONS
from services.gateway.models.states import PROCESS, USABLE
from services.gateway.models.store import models
from tests.integration.gateway.harness import NOON, PROJECT, Uploads
from tests.integration.gateway.models.verdicts import SYMLINK, report

GRACE = timedelta(days=7)
ANY_HEALTH = list(HealthCheck)  # the fixtures are shared by all examples, and examples take as long as Postgres does


async def holds(check: Callable[[Callable[[Awaitable[None]], None]], None]) -> None:
    """Run a property, which is no coroutine, beside the loop; it is given a way to run coroutines on the loop."""
    loop = asyncio.get_running_loop()

    def run(work: Awaitable[None]) -> None:
        async def working() -> None:
            await work

        asyncio.run_coroutine_threadsafe(working(), loop).result()

    await asyncio.to_thread(check, run)


# PATCH

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=255)
DIMENSION = st.integers(1, 2**31 - 1)
VALID: dict[str, st.SearchStrategy[Any]] = {
    "description": st.none() | TEXT | st.just("") | st.just("文" * 4096),
    "license": st.none() | TEXT,
    "architecture": st.none() | TEXT,
    "quantization": st.none() | st.sampled_from(QUANTIZATIONS),
    "context_length": st.none() | DIMENSION,
    "parameter_count": st.none() | st.integers(1, 2**53 - 1),
    "hidden_size": st.none() | DIMENSION,
    "num_layers": st.none() | DIMENSION,
    "vocab_size": st.none() | DIMENSION,
    "workload_type": st.sampled_from(["chat", "code", "reasoning", "embedding", "multilingual"]),
}
_FLOAT = st.floats(allow_nan=False, allow_infinity=False)
_NO_TEXT: st.SearchStrategy[Any] = st.integers() | _FLOAT | st.booleans() | st.just([]) | st.just({})
_NO_NUMBER: st.SearchStrategy[Any] = TEXT | _FLOAT | st.booleans() | st.just([]) | st.integers(max_value=0)
WRONG: dict[str, st.SearchStrategy[Any]] = {
    "description": _NO_TEXT | st.just("x" * 4097),
    "license": _NO_TEXT | st.just("") | st.just("x" * 256),
    "architecture": _NO_TEXT | st.just("") | st.just("x" * 256),
    "quantization": _NO_TEXT | TEXT.filter(lambda text: text not in QUANTIZATIONS),
    "context_length": _NO_NUMBER | st.integers(2**31),
    "parameter_count": _NO_NUMBER | st.integers(2**53),
    "hidden_size": _NO_NUMBER | st.integers(2**31),
    "num_layers": _NO_NUMBER | st.integers(2**31),
    "vocab_size": _NO_NUMBER | st.integers(2**31),
    "workload_type": _NO_TEXT | st.none() | TEXT.filter(lambda text: text not in ("chat", "code")),
    "name": TEXT,
    "status": TEXT,
    "is_latest": st.booleans(),
}


async def test_either_all_given_fields_are_set_or_none_and_no_other_changes(uploads: Uploads) -> None:
    model_id = str((await uploads.open_directory({"config.json": b"{}"}))["model_id"])

    def check(run: Callable[[Awaitable[None]], None]) -> None:
        @given(
            valid=st.fixed_dictionaries({}, optional=VALID),
            wrong=st.just({}) | st.fixed_dictionaries({}, optional=WRONG),
            wrong_first=st.booleans(),
        )
        @settings(max_examples=150, suppress_health_check=ANY_HEALTH)
        def fields(valid: dict[str, Any], wrong: dict[str, Any], wrong_first: bool) -> None:
            right = {name: value for name, value in valid.items() if name not in wrong}
            body = {**wrong, **right} if wrong_first else {**right, **wrong}
            run(patched(body, set(wrong)))

        fields()

    async def patched(body: dict[str, Any], wrong: set[str]) -> None:
        before = await uploads.model(model_id)
        if not wrong:
            after = await uploads.call("PATCH", f"models/{model_id}", json=body)
            of_verdict = {"updated_at", "deployable", "deployable_reason"}
            assert {k: v for k, v in after.items() if k not in of_verdict} == {
                k: v for k, v in {**before, **body}.items() if k not in of_verdict
            }
        else:
            error = (await uploads.call("PATCH", f"models/{model_id}", 400, json=body))["error"]
            listed = [each["param"] for each in error.get("errors", [{"param": error["param"]}])]
            assert listed == [name for name in body if name in wrong]
            assert error["param"] == listed[0]
            after = before
        assert await uploads.model(model_id) == after

    await holds(check)


# Pages


async def given_versions(uploads: Uploads, count: int) -> list[str]:
    """Models that are ready, in the order of their creation."""
    async with transaction(uploads.pool) as tx:
        ids = [(await transitions.create(tx, PROJECT, f"model-{n % 3}", None))[0] for n in range(count)]
        await tx.execute("UPDATE model SET status = 'ready' WHERE id = ANY ($1)", ids)
    return ids


MEANWHILE = st.lists(st.tuples(st.sampled_from(["create", "delete", "restore"]), st.integers(0, 40)), max_size=4)


async def test_pages_lose_and_double_nothing_while_models_come_and_go(uploads: Uploads) -> None:
    def check(run: Callable[[Awaitable[None]], None]) -> None:
        @given(count=st.integers(0, 12), limit=st.integers(1, 5), meanwhile=st.lists(MEANWHILE, max_size=8))
        @settings(max_examples=30, suppress_health_check=ANY_HEALTH)
        def pages(count: int, limit: int, meanwhile: list[list[tuple[str, int]]]) -> None:
            run(paged(count, limit, list(meanwhile)))

        pages()

    async def change(what: str, models: list[str], number: int) -> str | None:
        """One change; returns the id of a model that was not there all the time."""
        if what == "create":
            [model_id] = await given_versions(uploads, 1)
            models.append(model_id)
        elif models:
            model_id = models[number % len(models)]
            method, path = ("DELETE", "") if what == "delete" else ("POST", "/restore")
            async with uploads.client.request(method, f"/v1/models/{model_id}{path}") as response:
                assert response.status in (200, 404)
        else:
            return None
        return model_id

    async def paged(count: int, limit: int, meanwhile: list[list[tuple[str, int]]]) -> None:
        async with connection(uploads.pool) as tx:
            await tx.execute("DELETE FROM model")
        order = await given_versions(uploads, count)
        there, shown, after = set(order), [], ""
        while True:
            page = await uploads.call("GET", f"models?limit={limit}{after}")
            assert [model["id"] for model in page["models"]] == [model["id"] for model in page["data"]]
            shown += [model["id"] for model in page["models"]]
            if not page["has_more"]:
                break
            after = f"&after={page['last_id']}"
            for what, number in meanwhile.pop(0) if meanwhile else []:
                there -= {await change(what, order, number) or ""}
        assert len(shown) == len(set(shown))
        assert there <= set(shown) <= set(order)
        assert shown == [model_id for model_id in reversed(order) if model_id in set(shown)]

    await holds(check)


async def test_a_page_after_a_model_that_is_gone_says_so(uploads: Uploads) -> None:
    [model_id] = await given_versions(uploads, 1)
    aborted = (await uploads.open_directory({"config.json": b"{}"}))["model_id"]
    await uploads.call("DELETE", f"models/{aborted}")
    for after in ("unknown", "model-0", aborted):
        error = (await uploads.call("GET", f"models?after={after}", 400))["error"]
        assert (error["param"], error["type"]) == ("after", "invalid_request_error")
    assert (await uploads.call("GET", f"models?after={model_id}"))["models"] == []
    await uploads.call("DELETE", f"models/{model_id}")
    assert (await uploads.call("GET", f"models?after={model_id}"))["models"] == []


async def test_a_page_that_cannot_be_is_refused_with_the_codes_of_the_sdk(uploads: Uploads) -> None:
    above = (await uploads.call("GET", "models?limit=1001", 400))["error"]
    below = (await uploads.call("GET", "models?limit=0", 400))["error"]
    assert (above["code"], below["code"]) == ("integer_above_max_value", "integer_below_min_value")
    wrong = (await uploads.call("GET", "models?status=deleting", 400))["error"]
    assert (wrong["param"], "'ready'" in wrong["message"]) == ("status", True)
    both = (await uploads.call("GET", "models?status=ready&deleted=true", 400))["error"]
    assert both["param"] == "status"


# Versions

STEPS = ["open", "register", "accept", "reject", "fail", "abort", "delete", "restore", "revalidate", "erase"]
BATCHES = st.lists(
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 30)), min_size=1, max_size=5), min_size=2, max_size=8
)


class Name:
    """One name, whose versions come and go; each step is a transaction, as a client or a service makes it."""

    def __init__(self, uploads: Uploads, name: str) -> None:
        self.uploads, self.name = uploads, name
        self.ids: list[str] = []
        self.done: list[str] = []

    async def step(self, what: str, number: int) -> None:
        """One step on one of the versions; again, if Postgres ended it for another's sake."""
        while True:
            try:
                async with transaction(self.uploads.pool) as tx:
                    await emit(tx, await self._do(tx, what, number))
                self.done.append(what)
                return
            except Unavailable:
                continue
            except SlipwayError:
                return  # not possible in this state

    async def _do(self, tx: Tx, what: str, number: int) -> list[Event]:
        if what == "open" or not self.ids:
            model_id, _ = await transitions.create(tx, PROJECT, self.name, None)
            self.ids.append(model_id)
            return []
        if what == "erase":
            return (await deletion.erase(tx, datetime.now(UTC) + 2 * GRACE, 100))[1]
        model_id, now = self.ids[number % len(self.ids)], datetime.now(UTC)
        if what == "register":
            return await self._register(tx, model_id, number)
        if what in ("accept", "reject"):
            await self._settle(tx, model_id, rejected=what == "reject")
        elif what == "fail":
            if await models.status_of(tx, model_id) in PROCESS.sources:
                await transitions.fail(tx, model_id, "Its upload failed.")
        elif what == "abort":
            await transitions.discard(tx, model_id)
        elif what == "delete":
            return (await deletion.delete(tx, PROJECT, model_id, by="key", at=now, erase_at=now + GRACE))[1]
        elif what == "restore":
            return await deletion.restore(tx, PROJECT, model_id, at=now)
        else:
            return [await registration.revalidate(tx, PROJECT, model_id, at=now)]
        return []

    async def _register(self, tx: Tx, model_id: str, number: int) -> list[Event]:
        """With one content of three, so that versions share some."""
        # Locked as by the lock of its upload; by the same statement that sees it, since it may just be created
        if await tx.fetchval("SELECT status FROM model WHERE id = $1 FOR UPDATE", model_id) != "uploading":
            return []
        await transitions.process(tx, model_id)
        sha256 = hashlib.sha256(b"%d" % (number % 3)).hexdigest()
        file = StoredFile(path="config.json", size_bytes=1, sha256=sha256, key=f"{PROJECT}/objects/{new_id()}/f0")
        return await registration.register(tx, PROJECT, model_id, [file], upload_id=new_id(), at=NOON)

    async def _settle(self, tx: Tx, model_id: str, *, rejected: bool) -> None:
        validation_id = await tx.fetchval("SELECT validation_id FROM model WHERE id = $1", model_id)
        kind = ModelRejected if rejected else ModelValidated
        found = report(SYMLINK) if rejected else report()
        await registration.settle(
            tx, kind(model_id=model_id, validation_id=validation_id or "none", report=found, at=NOON)
        )

    async def holds_together(self) -> None:
        """One latest version if there is any, which can be used if it is the newest that can; contents have a model."""
        async with connection(self.uploads.pool) as tx:
            shown = await tx.fetch(
                "SELECT status, is_latest FROM model WHERE name = $1 AND status <> 'deleting'", self.name
            )
            deleted_latest = await tx.fetchval(
                "SELECT count(*) FROM model WHERE name = $1 AND status = 'deleting' AND is_latest", self.name
            )
            kept = await tx.fetch("SELECT key, EXISTS (SELECT FROM model_file f WHERE f.sha256 = b.sha256) FROM blob b")
        latest = [row["status"] for row in shown if row["is_latest"]]
        assert deleted_latest == 0
        assert len(latest) == (1 if shown else 0)
        if any(row["status"] in USABLE for row in shown):
            assert latest[0] in (*USABLE, "validating")  # that is the latest while it is checked anew
        assert all(row["exists"] for row in kept)
        dropped = [key for event in await self.uploads.emitted(ObjectDropped) for key in event.keys]
        assert len(dropped) == len(set(dropped))
        assert not {row["key"] for row in kept} & {*dropped}


async def test_a_name_has_one_latest_version_whatever_happens_to_them_at_once(uploads: Uploads) -> None:
    examples = 0

    def check(run: Callable[[Awaitable[None]], None]) -> None:
        @given(batches=BATCHES)
        @settings(max_examples=40, suppress_health_check=ANY_HEALTH)
        def versions(batches: list[list[tuple[str, int]]]) -> None:
            run(went(batches))

        versions()

    async def went(batches: list[list[tuple[str, int]]]) -> None:
        nonlocal examples
        examples += 1
        name = Name(uploads, f"name-{examples}")
        for batch in batches:
            await asyncio.gather(*(name.step(what, number) for what, number in batch))
            await name.holds_together()

    await holds(check)


async def test_many_uploads_of_one_name_at_once_have_one_latest(uploads: Uploads) -> None:
    name = Name(uploads, "tiny")
    await asyncio.gather(*(name.step("open", n) for n in range(8)))
    assert len(set(name.ids)) == 8
    await asyncio.gather(*(name.step("register", n) for n in range(8)))
    await asyncio.gather(*(name.step("accept", n) for n in range(8)))
    await name.holds_together()
    newest = max((await uploads.call("GET", "models"))["models"], key=lambda model: int(model["version"].split(".")[1]))
    assert newest["isLatest"] is True


async def test_versions_that_are_deleted_and_restored_at_once_leave_one_latest(uploads: Uploads) -> None:
    for turn in range(5):
        name = Name(uploads, f"name-{turn}")
        for what in ("open", "register", "accept"):
            for number in range(6):
                await name.step(what, number)
        await asyncio.gather(*(name.step("delete", number) for number in (5, 4, 3, 2, 1)))
        await name.holds_together()
        await asyncio.gather(*(name.step("restore", number) for number in (1, 5, 3)), name.step("delete", 0))
        await name.holds_together()
        assert len((await uploads.call("GET", f"models?name=name-{turn}"))["models"]) == 3
