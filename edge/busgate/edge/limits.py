"""What one HTTP listener takes from its clients: sizes, times and numbers of connections."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """Times are seconds and are checked every `sweep` seconds, so they hold within that.

    Args:
        connections: open at a time; one more is answered 503.
        connections_per_address: the same for one client address.
        refused_at_once: connections over a limit that get an answer at a time; more are cut without one.
        first_byte: until a new connection says something.
        head: for the whole request head, from its first byte.
        keep_alive: for a connection that is idle between requests; longer than a balancer's in front.
        body: for a whole body.
        write: for a client to take a whole answer.
        age: of a connection, after which the next answer is its last.
        handshake: for TLS, before the first byte.
        grace: before `min_rate` is asked of a body or of a client that takes an answer.
        min_rate: bytes per second.
        linger: how long what a client still sends is read and dropped, so that it sees its answer.
        head_bytes: of a request line and all its headers.
        sweep: between two looks at the clocks of all connections.
    """

    connections: int = 20_000
    connections_per_address: int = 4_000
    refused_at_once: int = 256
    first_byte: float = 5.0
    head: float = 10.0
    keep_alive: float = 75.0
    body: float = 60.0
    write: float = 60.0
    age: float = 600.0
    handshake: float = 5.0
    grace: float = 5.0
    min_rate: int = 1_000
    linger: float = 2.0
    head_bytes: int = 32 * 1024
    sweep: float = 0.5
