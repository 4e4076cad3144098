"""What an import finds in its source: the files of a model, by the rules that hold for every upload."""

from __future__ import annotations

import asyncio

import msgspec

from libs.archives.paths import PathSet, check_path, is_macos_metadata
from libs.errors import FilesMissing, Invalid
from libs.modelfiles.required import missing_files
from libs.remote import Credentials, Endpoints, Location, RemoteObject, SourceMissing, SourceUnavailable, open_store

LISTING_S = 60.0  # for all pages


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the model, and the object of the source that it is."""

    path: str
    size_bytes: int
    key: str
    etag: str


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """All files, in the source's order; `location` has the region in which the bucket turned out to be."""

    location: Location
    files: list[SourceFile]
    dropped: list[str]

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)


async def list_source(
    endpoints: Endpoints, location: Location, secret: str | None, credentials: Credentials | None
) -> Listing:
    """List a source, and check that its files can be a model, before any of them is copied.

    Raises: Invalid, for a source that cannot be read, or has nothing; PathRejected; FilesMissing.
    """
    try:
        async with asyncio.timeout(LISTING_S), open_store(endpoints, location, secret, credentials) as store:
            found = _Found(location)
            async for each in store.objects():
                found.add(each)
            location = store.location
    except (SourceUnavailable, TimeoutError) as trouble:
        # not Unavailable: that would say that a part of this installation is down
        message = str(trouble) or f"The source took longer than {LISTING_S:.0f} s to list its files."
        raise Invalid(f"{message} Try again later.", code=SourceUnavailable.code, param="source") from None
    if not found.files:
        where = f"below '{location.prefix}' " if location.prefix else ""
        raise SourceMissing(f"There are no files {where}in {location.where}.", param="source")
    missing = missing_files(file.path for file in found.files)
    if missing:
        raise FilesMissing(
            " ".join(finding.sentence() for finding in missing),
            details={"finding": msgspec.to_builtins(missing[0])},
            param="source",
            retryable=False,
        )
    return Listing(location=location, files=found.files, dropped=found.dropped)


class _Found:
    """The files found so far."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._paths = PathSet()
        self.files: list[SourceFile] = []
        self.dropped: list[str] = []

    def add(self, found: RemoteObject) -> None:
        """Add an object; those that stand for folders are passed over. Raises: PathRejected; Invalid."""
        name = found.key.removeprefix(self._location.prefix)
        if not name or (name.endswith("/") and found.size_bytes == 0):
            self._paths.count(name)
            return
        path = check_path(name)
        if is_macos_metadata(path):
            self._paths.count(path)
            self.dropped.append(path)
            return
        if not found.etag:
            raise Invalid(f"The source gives no ETag for {path!r}, by which a change could be seen.", param="source")
        self._paths.add_file(path)
        self.files.append(SourceFile(path=path, size_bytes=found.size_bytes, key=found.key, etag=found.etag))
