"""Bytes of requests, and nothing of what they are for: no function here knows an upload or its state.

`accept` takes in a body that becomes one object, or one part of one. A body that is cut into several parts is read as
a `DividedBody`.
"""

from services.gateway.uploads.receiving.acceptance import (
    Accepted,
    Expected,
    NewObject,
    NewPart,
    StoredBefore,
    accept,
    declared_checksum,
)
from services.gateway.uploads.receiving.content_range import Span, parse_content_range
from services.gateway.uploads.receiving.divided_body import DividedBody

__all__ = [
    "Accepted",
    "DividedBody",
    "Expected",
    "NewObject",
    "NewPart",
    "Span",
    "StoredBefore",
    "accept",
    "declared_checksum",
    "parse_content_range",
]
