"""Where an import reads: a bucket or container, and the folder in it."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from libs.contracts import RemoteKind
from libs.errors import Invalid

S3_SCHEME: Final = "s3://"
AZURE_DOMAIN: Final = ".blob.core.windows.net"
DEFAULT_REGION: Final = "us-east-1"
# S3: "Bucket naming rules", and what other stores and older buckets have; Azure: "Naming containers"
_CONTAINER = {
    "s3": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]"),
    "azure": re.compile(r"\$?[a-z0-9-]{3,63}"),
}
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")  # Azure: "Storage account name"
_REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?")
_PATH = re.compile(r"(/[A-Za-z0-9._-]+)*/?")
_FORMS = "Give s3://BUCKET/FOLDER, or https://ACCOUNT.blob.core.windows.net/CONTAINER/FOLDER."


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of a store; `prefix` ends with a slash, or is empty: all of the bucket or container."""

    kind: RemoteKind
    endpoint: str  # scheme://host[:port][/path], without a slash at its end
    container: str
    prefix: str
    region: str | None = None

    @property
    def where(self) -> str:
        """For messages."""
        what = "bucket" if self.kind == "s3" else "container"
        return f"the {what} '{self.container}' at {self.endpoint}"


def parse(source: str, endpoint: str | None = None, region: str | None = None) -> Location:
    """The place that `source` names: s3://bucket/folder, or the URL of a container of Azure.

    endpoint: of a store other than Amazon's, or in Azure's place; region: of S3.
    Raises: Invalid, naming the parameter.
    """
    if source.startswith(S3_SCHEME):
        return _s3(source, endpoint, region)
    if region is not None:
        raise Invalid("'region' is for sources in S3.", param="region")
    return _azure(source, endpoint)


def _s3(source: str, endpoint: str | None, region: str | None) -> Location:
    container, _, prefix = source.removeprefix(S3_SCHEME).partition("/")
    if region is not None and not _REGION.fullmatch(region):
        raise Invalid("'region' is a name such as eu-west-1.", param="region")
    chosen = region or DEFAULT_REGION
    suffix = ".cn" if chosen.startswith("cn-") else ""
    return Location(
        kind="s3",
        endpoint=_endpoint(endpoint) if endpoint else f"https://s3.{chosen}.amazonaws.com{suffix}",
        container=_container("s3", container),
        prefix=_folder(prefix),
        region=chosen,
    )


def _azure(source: str, endpoint: str | None) -> Location:
    url = _split(source, "source")
    host = (url.hostname or "").lower()
    account = host.removesuffix(AZURE_DOMAIN)
    if (
        url.scheme != "https"
        or url.port is not None
        or not host.endswith(AZURE_DOMAIN)
        or not _ACCOUNT.fullmatch(account)
    ):
        raise Invalid(f"The source is neither in S3 nor in Azure. {_FORMS}", param="source")
    if url.query or url.fragment:
        raise Invalid(
            "The source may have no query: put a SAS token into a secret of the type azure, and name that here.",
            param="source",
        )
    container, _, prefix = unquote(url.path.removeprefix("/")).partition("/")
    return Location(
        kind="azure",
        endpoint=_endpoint(endpoint, path=True) if endpoint else f"https://{host}",
        container=_container("azure", container),
        prefix=_folder(prefix),
    )


def _container(kind: RemoteKind, name: str) -> str:
    if not _CONTAINER[kind].fullmatch(name) or ".." in name:
        what = "bucket" if kind == "s3" else "container"
        raise Invalid(f"The source names no {what}. {_FORMS}", param="source")
    return name


def _folder(prefix: str) -> str:
    if "\0" in prefix or len(prefix.encode(errors="replace")) > 1000:
        raise Invalid("The folder in 'source' is no name that a store can have.", param="source")
    return f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""


def _endpoint(text: str, *, path: bool = False) -> str:
    url = _split(text, "endpoint")
    if (
        url.scheme not in ("http", "https")
        or not _HOST.fullmatch(url.netloc)
        or not (_PATH if path else re.compile("/?")).fullmatch(url.path)
        or url.query
        or url.fragment
    ):
        form = "https://HOST[:PORT]/ACCOUNT" if path else "https://HOST[:PORT]"
        raise Invalid(f"'endpoint' is the address of a store, {form}, and nothing else.", param="endpoint")
    return f"{url.scheme}://{url.netloc.lower()}{url.path.rstrip('/')}"


def _split(text: str, param: str) -> SplitResult:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        raise Invalid(f"'{param}' is no URL. {_FORMS}", param=param) from None
    return url
