"""The states of a model, and every way from one to another, as a table.

The statements in `store` take their guards and targets from here; the CHECK constraint and the partial indexes of the
migrations are tested against it. `transitions` and `registration` have a function for each transition.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from libs.states import Transition

ModelStatus = Literal["uploading", "processing", "validating", "ready", "active", "error", "deleting"]
VisibleStatus = Literal["uploading", "processing", "validating", "ready", "active", "error"]  # all but `deleting`

STATES: Final[tuple[ModelStatus, ...]] = get_args(ModelStatus)
UPLOADING: Final = "uploading"  # its upload is open; every model begins here
PROCESSING: Final = "processing"  # its upload is complete, and not unpacked yet
VALIDATING: Final = "validating"  # registered; waits for the validator's verdict
READY: Final = "ready"  # passed every rule
ACTIVE: Final = "active"  # deployed
ERROR: Final = "error"  # cannot be used; `status_reason` says why
DELETING: Final = "deleting"  # its client has deleted it, and can restore it for a while; no read shows it

USABLE: Final[tuple[ModelStatus, ...]] = (READY, ACTIVE)
UNUSED: Final[tuple[ModelStatus, ...]] = (ACTIVE,)  # in the API and the schema; no transition leads there yet

_WITH_FILES: Final[tuple[ModelStatus, ...]] = (VALIDATING, READY, ACTIVE, ERROR)  # in the registry

CREATE: Final = Transition[ModelStatus](
    name="create", sources=(), target=UPLOADING, by=("client",), because="an upload of a version was opened"
)
PROCESS: Final = Transition[ModelStatus](
    name="process", sources=(UPLOADING,), target=PROCESSING, by=("client",), because="everything has been sent"
)
REOPEN: Final = Transition[ModelStatus](
    name="reopen",
    sources=(PROCESSING,),
    target=UPLOADING,
    by=("client", "extractor"),
    because="a file is wrong, or was lost, and has to be sent again",
)
DISCARD: Final = Transition[ModelStatus](
    name="discard",
    sources=(UPLOADING, PROCESSING),
    target=None,
    by=("client",),
    because="the client aborted the upload",
)
FAIL: Final = Transition[ModelStatus](
    name="fail",
    sources=(UPLOADING, PROCESSING, VALIDATING),
    target=ERROR,
    by=("client", "extractor", "sweeper"),
    because="the upload failed or expired",
)
REGISTER: Final = Transition[ModelStatus](
    name="register",
    sources=(PROCESSING,),
    target=VALIDATING,
    by=("client", "extractor"),
    because="the registry has all files of the model, and the validator is asked for its verdict",
)
ACCEPT: Final = Transition[ModelStatus](
    name="accept", sources=(VALIDATING,), target=READY, by=("validator",), because="the verdict has no errors"
)
REJECT: Final = Transition[ModelStatus](
    name="reject", sources=(VALIDATING,), target=ERROR, by=("validator",), because="the verdict has errors"
)
GIVE_UP: Final = Transition[ModelStatus](
    name="give_up", sources=(VALIDATING,), target=ERROR, by=("sweeper",), because="no verdict came for days"
)
RESUME: Final = Transition[ModelStatus](
    name="resume",
    sources=(VALIDATING, ERROR),
    target=VALIDATING,
    by=("operator",),
    because="the verdict is asked for again, also after it was given up",
)
REVALIDATE: Final = Transition[ModelStatus](
    name="revalidate",
    sources=(READY, ERROR),
    target=VALIDATING,
    by=("client",),
    because="the client wants the files to be checked anew",
)
LOSE_FILES: Final = Transition[ModelStatus](
    name="lose_files",
    sources=_WITH_FILES,
    target=ERROR,
    by=("lifecycle",),
    because="storage has lost files of the model",
)
FIND_FILES: Final = tuple(
    Transition[ModelStatus](
        name="find_files",
        sources=(ERROR,),
        target=state,
        by=("lifecycle",),
        because="storage has all files again: the model is what it was before",
    )
    for state in LOSE_FILES.sources
)
REPLACE_FILES: Final = Transition[ModelStatus](
    name="replace_files",
    sources=_WITH_FILES,
    target=VALIDATING,
    by=("client", "extractor"),
    because="another upload brought the lost files again, and the verdict is asked for anew",
)
DELETE: Final = Transition[ModelStatus](
    name="delete",
    sources=_WITH_FILES,
    target=DELETING,
    by=("client", "operator"),
    because="the client deleted the model, or an operator its project; an upload that was open is aborted instead",
)
RESTORE: Final = tuple(
    Transition[ModelStatus](
        name="restore",
        sources=(DELETING,),
        target=state,
        by=("client",),
        because="the client wants the model back: it is what it was before",
    )
    for state in DELETE.sources
    if state != ACTIVE  # nothing serves it any more
)
ERASE: Final = Transition[ModelStatus](
    name="erase", sources=(DELETING,), target=None, by=("sweeper",), because="it was not restored in time"
)
EXPIRE: Final = Transition[ModelStatus](
    name="expire",
    sources=(ERROR,),
    target=None,
    by=("sweeper",),
    because="it has been in error for long, and nothing that is not its client's fault keeps it there",
)

TRANSITIONS: Final[tuple[Transition[ModelStatus], ...]] = (
    CREATE,
    PROCESS,
    REOPEN,
    DISCARD,
    FAIL,
    REGISTER,
    ACCEPT,
    REJECT,
    GIVE_UP,
    RESUME,
    REVALIDATE,
    LOSE_FILES,
    *FIND_FILES,
    REPLACE_FILES,
    DELETE,
    *RESTORE,
    ERASE,
    EXPIRE,
)
