"""Parses and writes the XML of S3.

Source of the formats: Amazon S3 API reference, ListObjectsV2, ListMultipartUploads, CreateMultipartUpload,
CompleteMultipartUpload, CopyObject, UploadPartCopy, Error responses. Servers differ in whether they name the XML
namespace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from xml.etree import ElementTree
from xml.sax.saxutils import escape


@dataclass(frozen=True)
class ObjectInfo:
    """A stored object."""

    key: str
    size_bytes: int
    modified_at: datetime  # UTC, to the second where the server is no finer


@dataclass(frozen=True)
class MultipartInfo:
    """A multipart upload that is neither completed nor aborted."""

    key: str
    upload_id: str
    begun_at: datetime | None  # UTC; None where the server does not say


def error_code(answer: bytes) -> str:
    """The `Code` of an Error document, e.g. "NoSuchKey"; "" for any other answer."""
    try:
        root = ElementTree.fromstring(answer.strip())  # noqa: S314  # our own object store's answer
    except ElementTree.ParseError:
        return ""  # the page of a proxy, or the empty answer to HEAD
    return root.findtext("{*}Code", "") if _name(root) == "Error" else ""


def objects(answer: bytes) -> tuple[list[ObjectInfo], str | None]:
    """A page of ListObjectsV2, and the token of the next one; None after the last."""
    root = _parsed(answer)
    found = [
        ObjectInfo(
            key=_text(entry, "Key"),
            size_bytes=int(_text(entry, "Size")),
            modified_at=datetime.fromisoformat(_text(entry, "LastModified")),
        )
        for entry in root.iterfind("{*}Contents")
    ]
    more = root.findtext("{*}IsTruncated", "false") == "true"
    return found, _text(root, "NextContinuationToken") if more else None


def multiparts(answer: bytes) -> tuple[list[MultipartInfo], tuple[str, str] | None]:
    """A page of ListMultipartUploads, and the markers of the next one; None after the last."""
    root = _parsed(answer)
    found = [
        MultipartInfo(
            key=_text(entry, "Key"),
            upload_id=_text(entry, "UploadId"),
            begun_at=_moment(entry.findtext("{*}Initiated", "")),
        )
        for entry in root.iterfind("{*}Upload")
    ]
    if root.findtext("{*}IsTruncated", "false") != "true":
        return found, None
    return found, (_text(root, "NextKeyMarker"), _text(root, "NextUploadIdMarker"))


def upload_id(answer: bytes) -> str:
    """The id in the answer to CreateMultipartUpload."""
    return _text(_parsed(answer), "UploadId")


def copied_etag(answer: bytes) -> str:
    """The entity tag in the answer to CopyObject or UploadPartCopy; "" in that of a server that did something else."""
    try:
        return _parsed(answer).findtext("{*}ETag", "")
    except ElementTree.ParseError:
        return ""


def completion(parts: Sequence[tuple[int, str]]) -> bytes:
    """The body of CompleteMultipartUpload: parts by number, in ascending order, and entity tag."""
    named = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>" for number, etag in parts
    )
    return f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()


def location(region: str) -> bytes:
    """The body of CreateBucket; us-east-1 is the one region that must not be named."""
    if region == "us-east-1":
        return b""
    return (
        '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<LocationConstraint>{escape(region)}</LocationConstraint></CreateBucketConfiguration>"
    ).encode()


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _parsed(answer: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(answer)  # noqa: S314  # our own object store's answer


def _text(element: ElementTree.Element, name: str) -> str:
    text = element.findtext(f"{{*}}{name}")
    if text is None:
        raise ValueError(f"the object store's answer has no {name} in its {_name(element)}")
    return text


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
