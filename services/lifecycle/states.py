"""The states of a stored object, and every way from one to another, as a table.

The statements in `store.objects` take their guards from here; the CHECK constraint of the migrations is tested against
it. There is no way back: keys are never used again.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from libs.states import Transition

State = Literal["live", "dropped", "deleted"]

STATES: Final[tuple[State, ...]] = get_args(State)
LIVE: Final = "live"  # a registered model has it
DROPPED: Final = "dropped"  # nothing has it; to be deleted from storage
DELETED: Final = "deleted"  # not in storage; the row is kept for events that arrive late

ObjectTransition = Transition[State]

REGISTER: Final = ObjectTransition(
    name="register", sources=(), target=LIVE, by=("gateway",), because="a model was registered"
)
DROP_UNREGISTERED: Final = ObjectTransition(
    name="drop_unregistered",
    sources=(),
    target=DROPPED,
    by=("gateway", "purge worker"),
    because="its upload has ended without a model, or the end arrives before the registration",
)
DROP: Final = ObjectTransition(
    name="drop", sources=(LIVE,), target=DROPPED, by=("gateway",), because="no model has it any more"
)
DELETE: Final = ObjectTransition(
    name="delete", sources=(DROPPED,), target=DELETED, by=("purge worker",), because="storage has removed it"
)
FORGET: Final = ObjectTransition(
    name="forget", sources=(DELETED,), target=None, by=("audit",), because="no event can name it any more"
)

TRANSITIONS: Final = (REGISTER, DROP_UNREGISTERED, DROP, DELETE, FORGET)
