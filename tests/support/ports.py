"""Ports for servers that are started later, or again."""

import random
import socket
from contextlib import ExitStack, suppress

HOST = "127.0.0.1"
RANGE = range(10_000, 32_000)
"""Below what systems give to connections that go out: else one of those takes it before the server does, or between two
starts of it. Drawn at random, as several suites may run on one machine."""


def free_ports(number: int) -> list[int]:
    """Neighbouring ports of the loopback interface that nobody listens on."""
    for _ in range(1000):
        first = random.choice(RANGE[:-number])
        ports = list(range(first, first + number))
        with suppress(OSError), ExitStack() as opened:
            for port in ports:
                opened.enter_context(socket.create_server((HOST, port)))
            return ports
    raise AssertionError(f"no {number} free ports beside each other")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    return free_ports(1)[0]
