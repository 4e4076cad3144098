"""Memory that concurrent writers share."""

from __future__ import annotations


class Budget:
    """A number of bytes, to be taken at once or not at all: a caller that gets none uses only its own."""

    def __init__(self, total_bytes: int) -> None:
        self.free_bytes = total_bytes

    def take(self, size_bytes: int) -> bool:
        """Take `size_bytes` if they are free. Returns whether they were."""
        if size_bytes > self.free_bytes:
            return False
        self.free_bytes -= size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """Give back bytes that `take` has granted."""
        self.free_bytes += size_bytes
