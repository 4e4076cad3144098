"""Transactional outbox and inbox: an event and the state it tells of are committed together, and applied once.

    emit          -> rows of `outbox`, in the transaction that changes the state
    Relay         -> publishes them, at least once: its own right after the commit, and as leader what was left behind
    apply_once    -> a row of `inbox`, the handler's changes and what it emits, in one transaction

Every service's schema has these tables (`MIGRATIONS`).
"""

from pathlib import Path

from libs.outbox.inbox import Handler, apply_idempotent, apply_once, begin_attempt, excuse_attempt, seen
from libs.outbox.outbox import (
    CHANNEL,
    depth,
    depth_and_refused,
    emit,
    refused,
    replay,
    retry,
)
from libs.outbox.pruning import prune
from libs.outbox.publishing import REQUEST_ID_HEADER, TRACEPARENT_HEADER
from libs.outbox.relay import Relay
from libs.outbox.store import Refused

MIGRATIONS = Path(__file__).parent / "migrations"

__all__ = [
    "CHANNEL",
    "MIGRATIONS",
    "REQUEST_ID_HEADER",
    "TRACEPARENT_HEADER",
    "Handler",
    "Refused",
    "Relay",
    "apply_idempotent",
    "apply_once",
    "begin_attempt",
    "depth",
    "depth_and_refused",
    "emit",
    "excuse_attempt",
    "prune",
    "refused",
    "replay",
    "retry",
    "seen",
]
