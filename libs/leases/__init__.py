"""Leases on rows: one process works on a row at a time, and another takes over when it dies.

LeaseTable  -> the SQL of claiming, renewing and releasing rows of a declared table
Lease       -> one lease in the process that holds it
HeldLeases  -> all leases of a process: renews them with one statement, cancels the tasks of those that were lost

A claim sets the row's holder and the time until which the lease is valid, and adds one to the row's `fence`. Each
change under a lease is guarded by key and fence, so that a process that was paused for longer than its lease changes
nothing.
"""

from libs.leases.held import HeldLeases
from libs.leases.lease import ClaimedRow, Lease, LeaseLost
from libs.leases.store import LeaseTable

__all__ = ["ClaimedRow", "HeldLeases", "Lease", "LeaseLost", "LeaseTable"]
