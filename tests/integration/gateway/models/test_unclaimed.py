"""What lifecycle found and was never told of: the registry drops only what it can know to be nobody's."""

from __future__ import annotations

from libs.contracts import ModelRegistered, ObjectDropped, ObjectUnclaimed
from libs.contracts.keys import member_key, part_key
from services.gateway.models.handlers import KEYS_AT_ONCE
from tests.integration.gateway.harness import FILES, NOON, PROJECT, Uploads
from tests.integration.gateway.models.verdicts import asked_for


async def test_unclaimed_objects_are_dropped_unless_a_model_or_a_live_upload_claims_them(uploads: Uploads) -> None:
    done = await uploads.upload_directory(FILES)
    mine = [file.key for file in (await asked_for(uploads, done["model_id"])).files]
    live = (await uploads.open_archive(10))["session_id"]
    writing = [part_key(PROJECT, live, 0, 0, "ab"), member_key(PROJECT, live, 0, 1, 3)]
    orphans = [member_key(PROJECT, "gone", 0, 1, 0), member_key(PROJECT, done["model_id"], 0, 1, 9)]
    await uploads.deliver(ObjectUnclaimed(project_id=PROJECT, keys=[*mine, *writing, *orphans], at=NOON))

    [dropped] = await uploads.emitted(ObjectDropped)
    assert dropped.keys == orphans
    [first, told_again] = await uploads.emitted(ModelRegistered)
    assert told_again.model_id == first.model_id
    assert told_again.files == first.files


async def test_keys_of_a_project_that_is_not_known_here_are_never_dropped(uploads: Uploads) -> None:
    """They may be another installation's, or this registry was restored from before their project was made."""
    theirs = [member_key("proj_THEIRS0001", "upload", 0, 1, n) for n in range(3)]
    await uploads.deliver(ObjectUnclaimed(project_id="proj_THEIRS0001", keys=theirs, at=NOON))
    await uploads.deliver(ObjectUnclaimed(project_id=PROJECT, keys=[*theirs, "another-shape"], at=NOON))
    assert await uploads.emitted(ObjectDropped) == []


async def test_a_long_question_is_answered_in_bounded_events(uploads: Uploads) -> None:
    keys = [member_key(PROJECT, "gone", 0, 1, n) for n in range(2 * KEYS_AT_ONCE + 1)]
    await uploads.deliver(ObjectUnclaimed(project_id=PROJECT, keys=keys, at=NOON))
    answers = await uploads.emitted(ObjectDropped)
    assert [len(answer.keys) for answer in answers] == [KEYS_AT_ONCE, KEYS_AT_ONCE, 1]
    assert [key for answer in answers for key in answer.keys] == keys


async def test_an_object_of_many_models_is_told_of_by_one_of_them(uploads: Uploads) -> None:
    for name in ("one", "two", "three"):
        done = await uploads.upload_directory(FILES, name)
    shared = [file.key for file in (await asked_for(uploads, done["model_id"])).files]
    before = len(await uploads.emitted(ModelRegistered))
    await uploads.deliver(ObjectUnclaimed(project_id=PROJECT, keys=shared, at=NOON))
    assert len(await uploads.emitted(ModelRegistered)) == before + 1
