"""The states of an extraction, and every way from one to another, as a table.

The statements in `store` take their guards from here; the CHECK constraints and the generated column of the migrations
are tested against it. Whether an extraction is being worked on is no state: it is whether its row is leased, which is
possible only in `open`.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from libs.states import Transition

State = Literal["open", "parked", "extracted", "rejected", "stopped"]

STATES: Final[tuple[State, ...]] = get_args(State)
OPEN: Final = "open"  # to be unpacked; every extraction begins here
PARKED: Final = "parked"  # several attempts failed for a reason that is not the client's; tried again later
EXTRACTED: Final = "extracted"  # every file is in storage
REJECTED: Final = "rejected"  # the content was refused
STOPPED: Final = "stopped"  # its upload has ended

ExtractionTransition = Transition[State]

BEGIN: Final = ExtractionTransition(
    name="begin", sources=(), target=OPEN, by=("gateway",), because="an upload has a stream of parts"
)
CLAIM: Final = ExtractionTransition(
    name="claim", sources=(OPEN, PARKED), target=OPEN, by=("worker",), because="there are parts to read"
)
PARK: Final = ExtractionTransition(
    name="park",
    sources=(OPEN,),
    target=PARKED,
    by=("worker",),
    because="attempts fail in a row, none by the content; or a repair has to come first",
)
RESUME: Final = ExtractionTransition(
    name="resume", sources=(OPEN, PARKED), target=OPEN, by=("operator",), because="what failed is repaired"
)
EXTRACT: Final = ExtractionTransition(
    name="extract", sources=(OPEN,), target=EXTRACTED, by=("worker",), because="every file is in storage"
)
REJECT: Final = ExtractionTransition(
    name="reject", sources=(OPEN,), target=REJECTED, by=("worker",), because="the content breaks a rule"
)
STOP: Final = ExtractionTransition(
    name="stop", sources=(OPEN, PARKED), target=STOPPED, by=("gateway",), because="the upload has ended"
)
FORGET: Final = ExtractionTransition(
    name="forget",
    sources=(EXTRACTED, REJECTED, STOPPED),
    target=None,
    by=("sweeper",),
    because="nobody asks about it any more",
)

TRANSITIONS: Final = (BEGIN, CLAIM, PARK, RESUME, EXTRACT, REJECT, STOP, FORGET)

UNDER_WAY: Final = STOP.sources  # the others have ended
