"""Object storage over the S3 protocol: minio signs, aiohttp moves the bytes.

Every request is a presigned one, whose payload is unsigned, so that no body is hashed twice. Works with AWS, MinIO,
Ceph, SeaweedFS, R2 and JuiceFS's gateway; what is not the same everywhere (DeleteObjects, compose, chunked uploads) is
not used. Connections are in three pools (bodies to the store, bodies from it, small requests), none
of which is waited for without end; parts in flight share one budget of memory. There may be a second bucket, the cold
tier, which readers do not see.
"""

from libs.blobs.address import Address
from libs.blobs.blobs import Blobs
from libs.blobs.listing import MultipartInfo, ObjectInfo
from libs.blobs.multipart import MAX_PART_BYTES, MAX_PARTS, MIN_PART_BYTES, MultipartGone, part_bytes
from libs.blobs.removal import Removal
from libs.blobs.writer import Writer

__all__ = [
    "MAX_PARTS",
    "MAX_PART_BYTES",
    "MIN_PART_BYTES",
    "Address",
    "Blobs",
    "MultipartGone",
    "MultipartInfo",
    "ObjectInfo",
    "Removal",
    "Writer",
    "part_bytes",
]
