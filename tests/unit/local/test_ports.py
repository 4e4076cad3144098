"""Ports that servers can come back to."""

from __future__ import annotations

import socket

from deploy.local.ports import EPHEMERAL_DEFAULT, EPHEMERAL_RANGE, free_port, is_free


def test_a_free_port_is_not_one_that_clients_are_given() -> None:
    lowest_ephemeral = int(EPHEMERAL_RANGE.read_text().split()[0]) if EPHEMERAL_RANGE.exists() else EPHEMERAL_DEFAULT
    port = free_port()
    assert port < lowest_ephemeral
    assert is_free(port)


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free(server.getsockname()[1])
