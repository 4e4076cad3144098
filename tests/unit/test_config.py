"""Settings: each from its variable, converted, and named when it is wrong."""

from typing import Annotated

import msgspec
import pytest

from libs.config import ConfigError, Count, Port, Seconds, ServiceConfig, load, schema_name


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    port: Port = 8080
    size: Count = 10
    interval_s: Seconds = 5
    enabled: bool = False
    key: Annotated[str, msgspec.Meta(min_length=4)] | None = None


def test_a_field_is_read_from_the_variable_of_its_name_and_converted() -> None:
    environ = {
        "SLIPWAY_URL": "postgresql://x",
        "SLIPWAY_PORT": "0",
        "SLIPWAY_INTERVAL_S": "0.5",
        "SLIPWAY_ENABLED": "true",
        "SLIPWAY_KEY": "12345",
    }
    assert load(Settings, environ) == Settings(url="postgresql://x", port=0, interval_s=0.5, enabled=True, key="12345")


def test_what_is_not_set_keeps_its_default() -> None:
    assert load(Settings, {"SLIPWAY_URL": "x", "URL": "y", "SLIPWAY_UNKNOWN": "z"}) == Settings(url="x")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SLIPWAY_PORT", "65536"),
        ("SLIPWAY_PORT", "http"),
        ("SLIPWAY_SIZE", "0"),
        ("SLIPWAY_INTERVAL_S", "-1"),
        ("SLIPWAY_ENABLED", "perhaps"),
        ("SLIPWAY_KEY", "abc"),
    ],
)
def test_a_wrong_value_ends_the_process_naming_its_variable(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{variable}: "):
        load(Settings, {"SLIPWAY_URL": "x", variable: value})


def test_everything_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(SystemExit) as caught:
        load(Settings, {"SLIPWAY_PORT": "x", "SLIPWAY_SIZE": "y"})
    message = str(caught.value)
    assert "SLIPWAY_URL is not set" in message
    assert "SLIPWAY_PORT" in message
    assert "SLIPWAY_SIZE" in message


def test_a_value_is_never_shown_since_it_may_be_a_secret() -> None:
    with pytest.raises(ConfigError) as caught:
        load(Settings, {"SLIPWAY_URL": "x", "SLIPWAY_SIZE": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_service_must_be_told_its_dependencies() -> None:
    with pytest.raises(ConfigError) as caught:
        load(ServiceConfig, {})
    for variable in ("SLIPWAY_DATABASE_URL", "SLIPWAY_NATS_URL", "SLIPWAY_S3_URL"):
        assert f"{variable} is not set" in str(caught.value)


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_URL", "from-environ")
    assert load(Settings).url == "from-environ"


@pytest.mark.parametrize(("namespace", "schema"), [("", "gateway"), ("test1", "test1_gateway")])
def test_a_service_owns_the_schema_of_its_name(namespace: str, schema: str) -> None:
    assert schema_name(namespace, "gateway") == schema
