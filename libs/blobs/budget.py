"""Memory that whatever goes on at a time shares."""

from __future__ import annotations


class Budget:
    """A number of bytes, to be taken at once or not at all: a caller that gets none uses only its own."""

    def __init__(self, total_bytes: int) -> None:
        self.free_bytes = total_bytes

    def take(self, size_bytes: int) -> bool:
        """Take `size_bytes`, if there are so many."""
        if size_bytes > self.free_bytes:
            return False
        self.free_bytes -= size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """What `take` gave."""
        self.free_bytes += size_bytes
