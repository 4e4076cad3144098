"""A dead letter: the original of a message that was given up, and the reason."""

from __future__ import annotations

from datetime import datetime

import msgspec

from libs.contracts import Event, decode_event


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message on DEAD, under `dead.<consumer>.<tag>`."""

    consumer: str  # the service that gave it up
    subject: str  # of the original, without the installation's prefix
    event_type: str  # its tag, from the subject
    event_id: str | None  # None where the message was not one of ours
    reason: str
    error_type: str  # the class of the error
    delivered: int  # how often it was delivered
    at: datetime  # UTC, when it was given up
    request_id: str | None = None
    original: bytes = b""  # base64 in JSON; empty where it was too large to be kept

    @property
    def letter_subject(self) -> str:
        """The subject under which the letter is published."""
        return f"dead.{self.consumer}.{self.event_type}"

    def event(self) -> Event:
        """The event of the original. Raises: msgspec.DecodeError, KeyError if it cannot be read."""
        return decode_event(self.event_type, self.original)

    def encode(self) -> bytes:
        """The letter as JSON."""
        return _encoder.encode(self)

    @staticmethod
    def decode(raw: bytes) -> DeadLetter:
        """A letter from its JSON. Raises: msgspec.DecodeError."""
        return _decoder.decode(raw)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(DeadLetter)
