"""Statements on `upload_source`: where an upload of the kind `import` reads its files."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from libs.contracts import PartStream
from libs.db import Tx
from libs.remote import Location
from services.gateway.uploads.states import PROCESSING
from services.gateway.uploads.store.uploads import Upload

# For statements that describe streams to the extractor: of a stream `s` of the upload `u`.
JOINS = """
    LEFT JOIN upload_source source ON source.upload_id = u.id
    LEFT JOIN secret ON secret.project_id = source.project_id AND secret.name = source.secret
"""
REMOTE = """
    CASE WHEN s.format = 'remote' THEN jsonb_build_object(
        'kind', source.kind, 'endpoint', source.endpoint, 'container', source.container, 'key', s.source_key,
        'etag', s.source_etag, 'region', source.region, 'secret', source.secret, 'credentials', secret.sealed) END
"""


async def insert(tx: Tx, upload: Upload, location: Location, *, source: str, secret: str | None) -> None:
    """Record where an upload reads its files; `source` as its client wrote it."""
    await tx.execute(
        """
        INSERT INTO upload_source (upload_id, project_id, source, kind, endpoint, container, region, secret)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        upload.id,
        upload.project_id,
        source,
        location.kind,
        location.endpoint,
        location.container,
        location.region,
        secret,
    )


async def of_uploads(tx: Tx, upload_ids: Sequence[str]) -> dict[str, str]:
    """The source of each of these uploads that has one, as its client wrote it."""
    if not upload_ids:
        return {}
    rows = await tx.fetch("SELECT upload_id, source FROM upload_source WHERE upload_id = ANY ($1)", upload_ids)
    return {row["upload_id"]: row["source"] for row in rows}


async def live_of_secret(tx: Tx, project_id: str, secret: str) -> list[str]:
    """The uploads in processing that read with this secret."""
    rows = await tx.fetch(
        f"""
        SELECT u.id FROM upload_source source JOIN upload u ON u.id = source.upload_id
         WHERE source.project_id = $1 AND source.secret = $2 AND u.status = '{PROCESSING}'
        """,
        project_id,
        secret,
    )
    return [row["id"] for row in rows]


async def unfinished(tx: Tx, upload_ids: Sequence[str]) -> list[PartStream]:
    """The files of these uploads that are not copied, as the extractor is asked for them."""
    rows = await tx.fetch(
        f"""
        SELECT s.id, s.upload_id, u.project_id, u.model_id, s.number, s.format, s.size_bytes, s.total_parts, s.path,
               s.sha256, {REMOTE} AS remote
          FROM upload_stream s JOIN upload u ON u.id = s.upload_id {JOINS}
         WHERE s.upload_id = ANY ($1) AND s.format = 'remote' AND NOT s.unpacked
         ORDER BY s.upload_id, s.number
        """,
        upload_ids,
    )
    return [msgspec.convert(dict(row), PartStream) for row in rows]
