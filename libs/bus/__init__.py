"""NATS JetStream: streams as code, confirmed publishing, consumers that apply each event once.

Bus       -> one connection, made again after each loss; publish returns after the broker has stored the message
Handlers  -> the table of a service's handlers
Consumer  -> runs the table: ack after commit, nak with backoff, dead letters with reason and original
"""

from libs.bus.backlog import Backlog
from libs.bus.connection import Bus
from libs.bus.consumer import Consumer
from libs.bus.deadletter import DeadLetter
from libs.bus.handlers import Handlers
from libs.bus.streams import STREAMS, prefixed, stream_name, unprefixed

__all__ = ["STREAMS", "Backlog", "Bus", "Consumer", "DeadLetter", "Handlers", "prefixed", "stream_name", "unprefixed"]
