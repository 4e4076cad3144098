"""How each archive format is made from a tar archive."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable, Mapping

from libs.contracts import ArchiveFormat

PACK: Mapping[ArchiveFormat, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": lambda raw: gzip.compress(raw, 1, mtime=0),
    "tar.bz2": lambda raw: bz2.compress(raw, 1),
}
