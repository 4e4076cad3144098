"""The settings of the extractor."""

from __future__ import annotations

from libs.archives.limits import ArchiveLimits
from libs.config import DAY_S, Count, Seconds, ServiceConfig
from libs.remote.endpoints import DEFAULT, EndpointList
from libs.sealing import SecretsKey


class ExtractorConfig(ServiceConfig, frozen=True, kw_only=True):
    """Settings of the extractor, beside those of every service.

    Memory is bounded by about 64 MiB for each extraction that works (8 MiB read ahead, 8 MiB in steps, 48 MiB being
    written; 16 MiB more for a file of an import), 16 MiB for each that waits, and by what all writers of the process
    are sending; CPU by `cpu_threads`.
    """

    secrets_key: SecretsKey | None = None  # 32 bytes in base64, as the gateway's; all of several decrypt
    import_endpoints: EndpointList = DEFAULT  # hosts of imports, as the gateway's; private ones by exact name
    max_imports: Count = 4  # files of imports that are copied at a time by this process, of `max_open`
    max_open: Count = 16  # extractions under way in this process, most of them waiting for parts
    cpu_threads: Count = 2  # for decompression and hashing
    lease_s: Seconds = 15  # how long a dead process keeps its extractions from others
    idle_s: Seconds = 120  # how long an extraction waits for its next part before it gives up its place
    idle_if_wanted_s: Seconds = 2  # the same, while others wait for a place
    poll_s: Seconds = 5  # how often tables are looked at without a signal
    progress_every_s: Seconds = 1  # how often the progress of an extraction is written down
    max_attempts: Count = 8  # in a row that stored no file; then the extraction is parked
    max_unpacked_bytes: Count = 2 * 1024**4  # of one archive
    max_ratio: Count = 20  # bytes out for each byte in, after the first 256 MiB
    forget_after_s: Seconds = 30 * DAY_S  # results, to be sent again; longer than the broker keeps any event

    def archive_limits(self) -> ArchiveLimits:
        """How much one archive may become."""
        return ArchiveLimits(max_bytes_out=self.max_unpacked_bytes, max_ratio=self.max_ratio)
