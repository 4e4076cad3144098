"""What the gateway is told."""

from __future__ import annotations

from typing import Annotated

import msgspec

from libs.config import DAY_S, Count, Seconds, ServiceConfig
from libs.remote.endpoints import DEFAULT, EndpointList
from libs.sealing import SecretsKey

OperatorKey = Annotated[str, msgspec.Meta(min_length=16)]
PublicUrl = Annotated[str, msgspec.Meta(pattern=r"^https?://[^/?#\s]+(/[^?#\s]*)?$")]
Origin = Annotated[str, msgspec.Meta(pattern=r"^https?://[^/?#\s@]+$")]
SignedFor = Annotated[float, msgspec.Meta(ge=1, le=7 * DAY_S)]


class GatewayConfig(ServiceConfig, frozen=True, kw_only=True):
    """Settings of the gateway, beside those of every service."""

    operator_key: OperatorKey  # opens /admin/v1
    secrets_key: SecretsKey | None = None  # 32 bytes in base64, as the extractor's; the first of several encrypts
    import_endpoints: EndpointList = DEFAULT  # hosts of imports, as the extractor's; private ones by exact name
    public_url: PublicUrl | None = None  # for URLs in answers; else they are made from the request's own
    s3_public_url: Origin | None = None  # where clients reach object storage, for signed URLs; else as in s3_url
    signed_url_ttl_s: SignedFor = 3600  # how long a signed URL of a file is valid; at most 7 days
    validate_wait_s: Seconds = 20  # how long validateUpload waits for the verdict before it says that there is none yet
    chunk_size_bytes: Count = 100 * 1024 * 1024  # of a part of an archive
    session_ttl_s: Seconds = DAY_S  # how long an upload may make no progress
    session_max_s: Seconds = 30 * DAY_S  # how long it may take at all
    retain_ended_s: Seconds = 7 * DAY_S  # how long the parts and files of an ended upload are still listed
    restore_grace_s: Seconds = 7 * DAY_S  # how long a deleted model can be restored; then its objects go
    retain_error_s: Seconds = 30 * DAY_S  # how long a model in error is kept that nothing will heal
    max_model_bytes: Count = 2 * 1024**4  # of one model; a larger upload is refused when it is opened
    complete_wait_s: Seconds = 60  # how long `complete` waits for the model before it answers 202
    complete_wait_max_s: Seconds = 600  # the same, at most, where the client says by `Prefer: wait=N`
    downloads_at_once: Count = 128  # bodies that a gateway sends; beyond, after a second, 503 with Retry-After
    downloads_at_once_per_project: Count = 64  # the same for one project
    uploads_at_once: Count = 128  # the same for bodies that come in
    uploads_at_once_per_project: Count = 64  # the same for one project
    requests_per_second_per_project: Count | None = None  # over all gateways; a project may have a limit of its own
    open_uploads_per_project: Count | None = None  # that have not ended; likewise
    stored_bytes_per_project: Count | None = None  # stored, and reserved for such uploads; likewise
    models_per_project: Count | None = None  # versions of models; likewise
    body_idle_s: Seconds = 60  # after which a client that sends or takes nothing of a body is ended
    body_min_rate_bytes_per_s: Count = 16 * 1024  # averaged over a minute in which we waited for nothing else
    sweep_interval_s: Seconds = 5  # between two looks for deadlines that have passed
    stale_after_s: Seconds = 30  # how long others may be silent before they are asked; then the pauses grow
    give_up_after_s: Seconds = 7 * DAY_S  # how long an upload or a model may wait for what is not its client's fault
