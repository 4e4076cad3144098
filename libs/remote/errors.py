"""What can be wrong with a store that is not ours, or with the way to it."""

from __future__ import annotations

from libs.errors import Invalid, Unavailable


class SourceUnavailable(Unavailable):
    """The source does not answer."""

    code = "source_unavailable"


class SourceRefused(Invalid):
    """The source does not take the request."""

    code = "source_refused"


class SourceDenied(SourceRefused):
    """The source does not let us read."""

    code = "source_access_denied"


class SourceMissing(SourceRefused):
    """The source has nothing there."""

    code = "source_not_found"


class SourceChanged(SourceRefused):
    """What the source has is no longer what was listed."""

    code = "source_changed"


class EndpointNotAllowed(SourceRefused):
    """The operator of this installation does not allow imports from this address."""

    code = "endpoint_not_allowed"
