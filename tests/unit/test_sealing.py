"""What is sealed opens with its key and for what it was sealed for, and in no other way."""

from __future__ import annotations

import msgspec
import pytest

from libs.remote import AzureCredentials, S3Credentials
from libs.remote.credentials import seal, unseal
from libs.sealing import CannotUnseal, Keys, SecretsKey, new_key

KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="  # the same in all processes that collect these tests


def test_it_opens_for_what_it_was_sealed_for() -> None:
    keys = Keys.parse(KEY)
    sealed = keys.seal(b"content", about="this")
    assert "content" not in sealed
    assert keys.unseal(sealed, about="this") == b"content"
    with pytest.raises(CannotUnseal):
        keys.unseal(sealed, about="that")


def test_no_two_sealed_values_are_alike() -> None:
    keys = Keys.parse(KEY)
    assert keys.seal(b"content", about="this") != keys.seal(b"content", about="this")


@pytest.mark.parametrize("at", [0, 5, 15, -5])
def test_a_changed_value_does_not_open(at: int) -> None:
    keys = Keys.parse(KEY)
    sealed = keys.seal(b"content", about="this")
    changed = sealed[:at] + ("A" if sealed[at] != "A" else "B") + (sealed[at + 1 :] if at != -1 else "")
    with pytest.raises(CannotUnseal):
        keys.unseal(changed, about="this")


@pytest.mark.parametrize("sealed", ["", "1", "1.", "x", "1.abcdef12.%%%", "2.a.b"])
def test_what_is_no_sealed_value_does_not_open(sealed: str) -> None:
    with pytest.raises(CannotUnseal):
        Keys.parse(KEY).unseal(sealed, about="this")


def test_the_first_key_seals_and_all_open() -> None:
    newer = new_key()
    old, both = Keys.parse(KEY), Keys.parse(f"{newer},{KEY}")
    assert both.unseal(old.seal(b"content", about="a"), about="a") == b"content"
    sealed = both.seal(b"content", about="a")
    assert Keys.parse(newer).unseal(sealed, about="a") == b"content"
    with pytest.raises(CannotUnseal, match="SLIPWAY_SECRETS_KEY"):
        old.unseal(sealed, about="a")


def test_without_a_key_there_are_none() -> None:
    assert not Keys.parse(None)
    assert Keys.parse(KEY)


@pytest.mark.parametrize("text", ["", "short", KEY[:-1], KEY + ",", KEY + "\n", f"{KEY} {KEY}"])
def test_what_is_no_key_is_refused_as_a_setting(text: str) -> None:
    assert msgspec.convert(f"{KEY},{new_key()}", SecretsKey)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, SecretsKey)


@pytest.mark.parametrize(
    "credentials",
    [
        S3Credentials(access_key_id="id", secret_access_key="VALUE", session_token="VALUE"),
        AzureCredentials(account_key="VALUE"),
        AzureCredentials(sas_token="sv=1&sig=VALUE"),
    ],
)
def test_credentials_are_sealed_for_a_project_and_a_name_and_do_not_print(
    credentials: S3Credentials | AzureCredentials,
) -> None:
    keys = Keys.parse(KEY)
    sealed = seal(keys, "proj_A", "name", credentials)
    assert unseal(keys, "proj_A", "name", sealed) == credentials
    for project_id, name in (("proj_B", "name"), ("proj_A", "other")):
        with pytest.raises(CannotUnseal):
            unseal(keys, project_id, name, sealed)
    assert "VALUE" not in f"{credentials!r} {credentials} {keys!r}"
