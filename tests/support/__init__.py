"""What tests share: the embedded stack as fixtures, real small models, hostile archives, and ways to look at the outcome."""

from tests.support.outbox import emitted

__all__ = ["emitted"]
