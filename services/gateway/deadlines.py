"""How often the gateway asks other services again.

Rows have the time at which an answer was due. The first question is asked again `stale_after_s` (a setting) later, so
that only the sweepers need that setting; from then on the pauses grow.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

PAUSES: Final = tuple(timedelta(seconds=pause_s) for pause_s in (30, 60, 120, 300, 600, 1800))  # the last one repeats
