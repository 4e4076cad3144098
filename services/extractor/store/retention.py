"""When the extractor's rows are deleted."""

from __future__ import annotations

from libs.retention import Retention
from libs.states import sql_in
from services.extractor import states

EXTRACTIONS = Retention(
    table="extraction",
    key="stream_id",
    age="ended_at",
    condition=f"state {sql_in(states.FORGET.sources)}",
    dependents=("extraction_part.stream_id", "extraction_file.stream_id"),
)
ENDED_UPLOADS = Retention(
    table="ended_upload",
    key="upload_id",
    age="ended_at",
    dependents=("extraction_part.upload_id",),  # parts that arrived after the end
)
