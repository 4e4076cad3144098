"""The address of a bucket, and the signature of requests to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit, urlunsplit

from minio.credentials.credentials import Credentials
from minio.helpers import BaseURL
from minio.signer import presign_v4, sign_v4_s3
from minio.time import to_amz_date

DEFAULT_REGION = "us-east-1"
_NO_BODY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Address:
    """A bucket and the credentials for it."""

    endpoint: BaseURL
    bucket: str
    region: str
    credentials: Credentials = field(repr=False)

    @classmethod
    def parse(cls, s3_url: str) -> Address:
        """From `http(s)://ACCESS_KEY:SECRET_KEY@host:port/bucket[?region=us-east-1]`, credentials percent-encoded.

        Raises: ValueError, without the credentials.
        """
        url = urlsplit(s3_url)
        bucket = url.path.strip("/")
        if url.scheme not in ("http", "https") or not url.hostname or not bucket or "/" in bucket:
            raise ValueError("the S3 URL is not of the form http(s)://ACCESS_KEY:SECRET_KEY@host:port/bucket")
        if not url.username or not url.password:
            raise ValueError("the S3 URL carries no credentials (ACCESS_KEY:SECRET_KEY@)")
        region = parse_qs(url.query).get("region", [DEFAULT_REGION])[0]
        host = url.netloc.rpartition("@")[2]
        return cls(
            endpoint=BaseURL(urlunsplit((url.scheme, host, "", "", "")), region),
            bucket=bucket,
            region=region,
            credentials=Credentials(unquote(url.username), unquote(url.password)),
        )

    def reached_at(self, origin: str) -> Address:
        """The same bucket by another address of its server, which is signed too: scheme://host[:port]."""
        return replace(self, endpoint=BaseURL(origin, self.region))

    def is_beside(self, other: Address) -> bool:
        """Whether both buckets are on one server, for the same credentials, so that it can copy between them."""

        def server(address: Address) -> tuple[str, str, str, str]:
            url = urlsplit(address.sign("HEAD", None, {}, 1))
            keys = address.credentials
            return url.scheme, url.netloc.removeprefix(f"{address.bucket}."), keys.access_key, keys.secret_key

        return server(self) == server(other)

    def sign(self, method: str, key: str | None, query: Mapping[str, str], expires_s: int) -> str:
        """The presigned URL of a request to the object `key`, or to the bucket where it is None.

        Anyone who has it may send that request until it expires: it belongs in no log. minio's own client would sign
        the same way, but asks the server for the bucket's region first and signs no bucket's URL; hence its signer.
        """
        url = self.endpoint.build(
            method=method, region=self.region, bucket_name=self.bucket, object_name=key, query_params=dict(query)
        )
        signed: SplitResult = presign_v4(
            method=method,
            url=url,
            region=self.region,
            credentials=self.credentials,
            date=datetime.now(UTC),
            expires=expires_s,
        )
        return urlunsplit(signed)

    def sign_headers(
        self, method: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        """The URL and all headers of a request without a body whose `headers` have to be signed, as `x-amz-…` do."""
        now = datetime.now(UTC)
        url = self.endpoint.build(
            method=method, region=self.region, bucket_name=self.bucket, object_name=key, query_params=dict(query)
        )
        wanted = {**headers, "Host": url.netloc, "x-amz-content-sha256": _NO_BODY, "x-amz-date": to_amz_date(now)}
        signed = sign_v4_s3(
            method=method,
            url=url,
            region=self.region,
            headers=wanted,  # type: ignore[arg-type]  # its values may also be lists
            credentials=self.credentials,
            content_sha256=_NO_BODY,
            date=now,
        )
        return urlunsplit(url), {name: str(value) for name, value in signed.items()}
