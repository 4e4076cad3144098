"""Answers of object stores, as they differ."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from libs.blobs import listing

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@pytest.mark.parametrize("namespace", ["", NAMESPACE], ids=["plain", "namespaced"])
def test_objects_of_a_page(namespace: str) -> None:
    page = f"""<?xml version="1.0"?><ListBucketResult {namespace}>
        <IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;1</NextContinuationToken>
        <Contents><Key>a/b&amp;c</Key><Size>12</Size><LastModified>2026-01-02T03:04:05.678Z</LastModified></Contents>
        </ListBucketResult>"""
    [info], token = listing.objects(page.encode())
    assert (info.key, info.size_bytes, token) == ("a/b&c", 12, "t&1")
    assert info.modified_at == datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)


def test_the_last_page_has_no_token() -> None:
    page = "<ListBucketResult><IsTruncated>false</IsTruncated><NextContinuationToken>x</NextContinuationToken>"
    assert listing.objects(f"{page}</ListBucketResult>".encode()) == ([], None)


def test_an_answer_that_lacks_a_field_is_an_error() -> None:
    with pytest.raises(ValueError, match="has no Size in its Contents"):
        listing.objects(b"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>")


def test_multipart_uploads_of_a_page() -> None:
    page = """<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>
        <NextUploadIdMarker>u</NextUploadIdMarker><Upload><Key>a</Key><UploadId>1</UploadId></Upload>
        </ListMultipartUploadsResult>"""
    [found], markers = listing.multiparts(page.encode())
    assert (found.key, found.upload_id, found.begun_at, markers) == ("a", "1", None, ("k", "u"))


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"<Error><Code>NoSuchKey</Code></Error>", "NoSuchKey"),
        (f"<Error {NAMESPACE}><Code>SlowDown</Code></Error>".encode(), "SlowDown"),
        (b"<html>502 Bad Gateway</html>", ""),
        (b"<html><p>not XML", ""),
        (b"", ""),
        (b"  \n<Error><Code>InternalError</Code></Error>", "InternalError"),
    ],
)
def test_the_code_of_an_error(answer: bytes, code: str) -> None:
    """A proxy between may answer anything."""
    assert listing.error_code(answer) == code


def test_a_completion_names_the_parts_in_order() -> None:
    assert listing.completion([(1, '"a"'), (7, "b&")]) == (
        b'<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"a"</ETag></Part>'
        b"<Part><PartNumber>7</PartNumber><ETag>b&amp;</ETag></Part></CompleteMultipartUpload>"
    )
