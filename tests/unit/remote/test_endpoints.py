"""An import reaches what the operator allows, by name and by the address that the name stands for; nothing else."""

from __future__ import annotations

import ipaddress

import aiohttp
import msgspec
import pytest

from libs.remote import EndpointNotAllowed, Endpoints
from libs.remote.endpoints import DEFAULT, Endpoint, EndpointList, is_public
from libs.remote.transport import Transport


@pytest.mark.parametrize(
    "url",
    [
        "https://s3.eu-west-1.amazonaws.com/b/k?x=y",
        "https://bucket.s3.amazonaws.com/",
        "https://account.blob.core.windows.net/container",
        "https://0a1b.r2.cloudflarestorage.com",
        "https://storage.googleapis.com:443/b",
    ],
)
def test_well_known_stores_are_allowed_by_default(url: str) -> None:
    Endpoints.parse(DEFAULT).require(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://s3.amazonaws.com/",  # without encryption
        "https://s3.amazonaws.com:8443/",
        "https://amazonaws.com.example.org/",
        "https://xamazonaws.com/",
        "https://s3.amazonaws.com@example.org/",
        "https://example.org/#.amazonaws.com",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://localhost/",
        "https://169.254.169.254/latest/meta-data",
        "ftp://s3.amazonaws.com/",
        "https:///s3.amazonaws.com/",
    ],
)
def test_what_nobody_has_listed_is_refused_and_the_setting_is_named(url: str) -> None:
    with pytest.raises(EndpointNotAllowed, match="SLIPWAY_IMPORT_ENDPOINTS"):
        Endpoints.parse(DEFAULT).require(url)


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/", "https://10.1.2.3/", "https://[::1]/", "https://[::ffff:10.0.0.1]/"]
)
def test_a_wildcard_allows_no_private_address(url: str) -> None:
    with pytest.raises(EndpointNotAllowed, match="private network"):
        Endpoints.parse("*").require(url)


def test_a_host_that_is_listed_by_its_name_may_be_private_and_only_at_its_port() -> None:
    endpoints = Endpoints.parse("http://10.1.2.3:9000, minio.internal")
    endpoints.require("http://10.1.2.3:9000/bucket")
    endpoints.require("https://minio.internal/bucket")
    endpoints.require_address("minio.internal", 443, ipaddress.ip_address("10.9.9.9"))
    for url in ("https://10.1.2.3:9000/", "http://10.1.2.3/", "http://10.1.2.4:9000/", "http://minio.internal/"):
        with pytest.raises(EndpointNotAllowed):
            endpoints.require(url)


@pytest.mark.parametrize(
    "entry", ["", "a b", "https://", "a.*.com", "https://a/path", "https://u@a", "gopher://a", "*a"]
)
def test_an_entry_that_is_no_address_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        Endpoint.parse(entry)
    with pytest.raises(msgspec.ValidationError):  # as a setting, at the start of a service
        msgspec.convert(f"{DEFAULT},{entry}", EndpointList)
    assert msgspec.convert(f"{DEFAULT}, http://a.b:9000,*", EndpointList)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:1.1.1.1", True),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:a00:1::", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) == public


async def test_a_name_that_stands_for_a_private_address_is_refused_when_it_is_connected_to() -> None:
    """`localhost` is such a name everywhere; the pattern allows it, its address is not allowed."""
    async with Transport.open(Endpoints.parse("*,http://*.localhost,http://*")) as transport:
        with pytest.raises(EndpointNotAllowed, match="private network"):
            async with transport.get("http://localhost/bucket"):
                pass


async def test_the_address_that_is_checked_is_the_one_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may stand for a public address at first, and for a private one later: each connection is checked."""
    answers = iter(["1.1.1.1", "10.0.0.1"])

    async def resolve(self: object, host: str, port: int = 0, family: int = 0) -> list[dict[str, object]]:
        return [{"hostname": host, "host": next(answers), "port": port, "family": family, "proto": 0, "flags": 0}]

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)
    async with Transport.open(Endpoints.parse("rebound.example")) as trusted:
        assert trusted is not None
    async with Transport.open(Endpoints.parse("*.example")) as transport:
        connector = transport._session.connector
        assert isinstance(connector, aiohttp.TCPConnector)
        assert [each["host"] for each in await connector._resolve_host("rebound.example", 443)] == ["1.1.1.1"]
        with pytest.raises(EndpointNotAllowed):
            await connector._resolve_host("rebound.example", 443)
