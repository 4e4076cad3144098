"""What clients write as a source, and what it means."""

from __future__ import annotations

import pytest

from libs.errors import Invalid
from libs.remote import Location
from libs.remote.location import parse

AMAZON, AZURE, LOCAL = (
    "https://s3.us-east-1.amazonaws.com",
    "https://acc.blob.core.windows.net",
    "http://127.0.0.1:1/acc",
)


@pytest.mark.parametrize(
    ("source", "endpoint", "region", "expected"),
    [
        ("s3://b-1/a/b", None, None, ("s3", AMAZON, "b-1", "a/b/", "us-east-1")),
        ("s3://bucket", None, "eu-west-1", ("s3", AMAZON.replace("us-east", "eu-west"), "bucket", "", "eu-west-1")),
        ("s3://bucket/", None, "cn-a-1", ("s3", "https://s3.cn-a-1.amazonaws.com.cn", "bucket", "", "cn-a-1")),
        (
            "s3://box/a b%20//",
            "https://S.example:9/",
            None,
            ("s3", "https://s.example:9", "box", "a b%20/", "us-east-1"),
        ),
        (f"{AZURE}/box/a%20b/", None, None, ("azure", AZURE, "box", "a b/", None)),
        (f"{AZURE}/box", LOCAL, None, ("azure", LOCAL, "box", "", None)),
    ],
)
def test_it_is_a_store_a_container_and_a_folder(
    source: str, endpoint: str | None, region: str | None, expected: tuple[str, str, str, str, str | None]
) -> None:
    found = parse(source, endpoint, region)
    assert (found.kind, found.endpoint, found.container, found.prefix, found.region) == expected
    assert isinstance(found, Location)


@pytest.mark.parametrize(
    ("source", "endpoint", "region", "param"),
    [
        ("", None, None, "source"),
        ("s3://", None, None, "source"),
        ("s3://a", None, None, "source"),
        ("s3://../x", None, None, "source"),
        ("s3://buc ket/x", None, None, "source"),
        ("s3://bucket/\0", None, None, "source"),
        ("s3://bucket/" + "x" * 1001, None, None, "source"),
        ("http://acc.blob.core.windows.net/box", None, None, "source"),
        ("https://acc.blob.core.windows.net/", None, None, "source"),
        ("https://acc.blob.core.windows.net/box?sig=secret", None, None, "source"),
        ("https://acc.blob.core.windows.net.evil.org/box", None, None, "source"),
        ("https://evil.org/.blob.core.windows.net/box", None, None, "source"),
        ("https://[::1/box", None, None, "source"),
        ("https://acc.blob.core.windows.net/box", None, "eu-west-1", "region"),
        ("s3://bucket", None, "EU West", "region"),
        ("s3://bucket", None, "x.evil.org/", "region"),
        ("s3://bucket", "store.example", None, "endpoint"),
        ("s3://bucket", "https://user:word@store.example", None, "endpoint"),
        ("s3://bucket", "https://store.example/path", None, "endpoint"),
        ("s3://bucket", "https://store.example?x=y", None, "endpoint"),
        ("s3://bucket", "https://store.example\\@evil.org", None, "endpoint"),
        ("s3://bucket", "file:///etc/passwd", None, "endpoint"),
        ("s3://bucket", "https://store.example:99999", None, "endpoint"),
    ],
)
def test_what_is_no_source_is_refused_by_the_name_of_the_field(
    source: str, endpoint: str | None, region: str | None, param: str
) -> None:
    with pytest.raises(Invalid) as refused:
        parse(source, endpoint, region)
    assert refused.value.param == param
    assert "secret" not in refused.value.message.replace("into a secret", "")
