"""When lifecycle's rows are deleted; by the last phase of each audit."""

from __future__ import annotations

from libs.retention import Retention
from libs.states import sql_in
from services.lifecycle import states

OBJECTS = Retention(table="object", key="key", age="changed_at", condition=f"state {sql_in(states.FORGET.sources)}")
PURGES = Retention(table="purge", key="id", age="scheduled_at")  # what it left is found by the next audit
HOLDERS = Retention(table="holder", key="id", age="changed_at", condition="erased")
