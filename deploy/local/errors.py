"""Why the embedded stack cannot run; each message is for the user who started it."""

from __future__ import annotations


class CannotRun(Exception):
    """Base class; the message says what the user can do."""


class NotInstalled(CannotRun):
    """A program that comes as a package is not there."""


class DataDirectoryTaken(CannotRun):
    """Another process uses the data directory."""


class DataDirectoryUnusable(CannotRun):
    """The data directory cannot be made or written."""


class PortTaken(CannotRun):
    """Another process listens on the port of the API."""


class StartFailed(CannotRun):
    """A program ended, or did not answer, before it was ready; the message says what its log says."""


class StillRunning(CannotRun):
    """A process of a former run does not end."""
