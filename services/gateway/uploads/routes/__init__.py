"""Routes of uploads: an archive in parts, a directory file by file.

Summaries are part of the public API's document, where an upload is called a session.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from libs.web import PUBLIC, Handler, Route
from libs.web.route import Method
from services.gateway.dependencies import Dependencies
from services.gateway.projects.access import READ_MODELS, WRITE_MODELS
from services.gateway.uploads import schemas
from services.gateway.uploads.routes.ending import abort_upload, complete_upload
from services.gateway.uploads.routes.files import receive_file
from services.gateway.uploads.routes.listing import get_upload, list_uploads
from services.gateway.uploads.routes.opening import open_archive, open_directory
from services.gateway.uploads.routes.parts import receive_part
from services.gateway.uploads.routes.signed import begin_signed_file, receive_signed_file
from services.gateway.uploads.signatures import PREFIX

_read = partial(Route, "GET", access=READ_MODELS)
_write = partial(Route, access=WRITE_MODELS)
_part = partial(_write, query=schemas.PartQuery, returns=schemas.PartStored, stream=True)


def _signed(method: Method, handler: Handler[Dependencies], **rest: Any) -> Route[Dependencies]:
    path = f"{PREFIX}/{{upload_id}}/files/{{path:path}}"
    return Route(method, path, handler, access=PUBLIC, base="root", query=schemas.SignedQuery, **rest)


ROUTES = [
    _write(
        "POST",
        "uploads/archive",
        open_archive,
        summary="Open a session for an archive that is sent in parts",
        body=schemas.CreateArchive,
        returns=schemas.ArchiveCreated,
    ),
    _write(
        "POST",
        "uploads/directory",
        open_directory,
        summary="Open a session for a directory that is sent file by file",
        body=schemas.CreateDirectory,
        returns=schemas.DirectoryCreated,
    ),
    _read(
        "uploads",
        list_uploads,
        summary="List upload sessions",
        query=schemas.ListUploads,
        returns=schemas.SessionList,
    ),
    _read(
        "uploads/{upload_id}",
        get_upload,
        summary="What a session has received, and what is missing",
        returns=schemas.Session,
    ),
    _write("DELETE", "uploads/{upload_id}", abort_upload, summary="Abort a session", returns=schemas.Aborted),
    _part("POST", "uploads/{upload_id}/parts", receive_part, summary="Send one part of an archive"),
    _part("PUT", "uploads/{upload_id}/parts", receive_part, summary="Send one part of an archive"),
    _part("POST", "uploads/{upload_id}/chunks", receive_part, summary="Send one part of an archive"),
    _part("PUT", "uploads/{upload_id}/chunks", receive_part, summary="Send one part of an archive"),
    *(
        _write(
            method,
            "uploads/{upload_id}/files/{path:path}",
            receive_file,
            summary="Send a file of a directory, or one chunk of it",
            query=schemas.FileQuery,
            returns=schemas.FileReceived,
            also={308: schemas.FileIncomplete},
            stream=True,
        )
        for method in ("POST", "PUT")
    ),
    _signed(
        "PUT",
        receive_signed_file,
        summary="Send a file by a signed URL",
        returns=schemas.FileReceived,
        also={308: schemas.FileIncomplete},
        stream=True,
    ),
    _signed("POST", begin_signed_file, summary="Begin to send a file by a signed URL", status=201),
    _write(
        "POST",
        "uploads/{upload_id}/complete",
        complete_upload,
        summary="Complete a session and register its model",
        returns=schemas.Completed,
        also={202: schemas.Processing},
    ),
]
