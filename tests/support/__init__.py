"""What tests share: the embedded stack as fixtures, real small models, hostile archives."""

from tests.support.outbox import emitted

__all__ = ["emitted"]
