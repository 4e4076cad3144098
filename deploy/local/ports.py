"""Free ports of the loopback interface."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST = 10_000
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
EPHEMERAL_DEFAULT = 32_768


def free_port() -> int:
    """A free port below those that the kernel gives to outgoing connections.

    From among those, a client that keeps trying a server that is down would one day be given the server's own port as
    its source, be connected to itself, and keep the server from coming back.
    """
    highest = EPHEMERAL_DEFAULT
    if EPHEMERAL_RANGE.exists():
        highest = int(EPHEMERAL_RANGE.read_text().split()[0])
    candidates = range(LOWEST, max(highest, LOWEST + 5_000))
    for port in random.sample(candidates, 200):
        if is_free(port):
            return port
    raise OSError(f"no free port between {candidates.start} and {candidates.stop} on 127.0.0.1")


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
