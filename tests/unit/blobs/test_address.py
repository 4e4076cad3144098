"""The S3 URL, and what is made of it."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from libs.blobs import Address


def test_a_url_says_everything() -> None:
    """Credentials may hold any character, percent-encoded."""
    address = Address.parse("https://key:se%2Fcr%40et%3A@s3.example.com:9000/models?region=eu-west-3")
    assert (address.bucket, address.region) == ("models", "eu-west-3")
    assert (address.credentials.access_key, address.credentials.secret_key) == ("key", "se/cr@et:")
    url = urlsplit(address.sign("GET", "a/b c+d", {}, 60))
    assert (url.scheme, url.netloc, url.path) == ("https", "s3.example.com:9000", "/models/a/b%20c%2Bd")
    assert parse_qs(url.query)["X-Amz-Expires"] == ["60"]


def test_the_secret_is_not_shown() -> None:
    """Neither in a repr nor in a signed URL."""
    address = Address.parse("http://key:topsecret@127.0.0.1:9000/models")
    assert "topsecret" not in repr(address) + address.sign("GET", "a", {}, 60)


def test_headers_are_signed_where_a_url_cannot_hold_them() -> None:
    """Amazon wants every x-amz header to be signed."""
    address = Address.parse("http://key:topsecret@127.0.0.1:9000/models")
    url, headers = address.sign_headers("PUT", "a b", {"partNumber": "1"}, {"x-amz-copy-source": "/models/c"})
    assert url == "http://127.0.0.1:9000/models/a%20b?partNumber=1"
    assert headers["Host"] == "127.0.0.1:9000"
    assert "SignedHeaders=host;x-amz-content-sha256;x-amz-copy-source;x-amz-date," in headers["Authorization"]
    assert "topsecret" not in str(headers)


def test_another_address_of_the_server_is_signed_for_itself() -> None:
    """The host is part of the signature."""
    address = Address.parse("http://key:topsecret@10.0.0.1:9000/models")
    public = urlsplit(address.reached_at("https://s3.example.com").sign("PUT", "a", {}, 60))
    assert (public.scheme, public.netloc, public.path) == ("https", "s3.example.com", "/models/a")
    inside = urlsplit(address.sign("PUT", "a", {}, 60))
    assert parse_qs(public.query)["X-Amz-Signature"] != parse_qs(inside.query)["X-Amz-Signature"]


def test_amazon_gets_the_bucket_in_the_host() -> None:
    """Virtual-hosted style, in the bucket's region."""
    url = urlsplit(
        Address.parse("https://key:secret@s3.eu-west-3.amazonaws.com/models?region=eu-west-3").sign("GET", "a", {}, 60)
    )
    assert (url.netloc, url.path) == ("models.s3.eu-west-3.amazonaws.com", "/a")


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:topsecret@host/bucket",
        "http://key:topsecret@host",
        "http://key:topsecret@host/bucket/folder",
        "http://host/bucket",
        "http://topsecret@host/bucket",
        "topsecret",
    ],
)
def test_the_error_of_a_wrong_url_has_no_secret(url: str) -> None:
    with pytest.raises(ValueError, match="S3 URL") as caught:
        Address.parse(url)
    assert "topsecret" not in str(caught.value)
