"""Errors inside lifecycle."""

from __future__ import annotations


class Interrupted(Exception):
    """The process is stopping, or another one has taken over the lease. What was done stays done."""
