"""Transactional outbox and inbox: a change and its events are committed together, and each event is applied once.

emit        -> rows of `outbox`, in the transaction that makes the change
Relay       -> publishes the rows at least once: its own right after the commit; as leader, those that others left
apply_once  -> a row of `inbox`, the handler's changes and its events, in one transaction

Every service's schema has these tables (`MIGRATIONS`).
"""

from pathlib import Path

from libs.outbox.inbox import Handler, apply_idempotent, apply_once, begin_attempt, seen, uncount_attempt
from libs.outbox.outbox import (
    CHANNEL,
    depth,
    depth_and_refused,
    emit,
    refused,
    replay,
    retry,
)
from libs.outbox.publishing import REQUEST_ID_HEADER, TRACEPARENT_HEADER
from libs.outbox.relay import Relay
from libs.outbox.retention import KEEP_PUBLISHED
from libs.outbox.store import Refused

MIGRATIONS = Path(__file__).parent / "migrations"

__all__ = [
    "CHANNEL",
    "KEEP_PUBLISHED",
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
    "refused",
    "replay",
    "retry",
    "seen",
    "uncount_attempt",
]
