"""Listening sockets. The supervisor opens them, so that a process that is started again finds its backlog."""

import errno
import socket
from contextlib import ExitStack

from .faults import CommandError

_REASONS = {
    errno.EADDRINUSE: "is taken by another program",
    errno.EACCES: "may not be used without more rights",
    errno.EADDRNOTAVAIL: "is not an address of this machine",
}


def bind(host: str, port: int, *, name: str, count: int = 1) -> list[socket.socket]:
    """Bind `count` sockets to one address. The kernel spreads connections over those that listen.

    Args:
        host: a name or an address.
        port: 0 is any free one.
        name: of the value in the configuration, for the error.
        count: more than one shares the port by SO_REUSEPORT: each process has a queue of its own. With one
            shared socket, processes take connections unevenly, down to none at all.

    Raises:
        CommandError: the address cannot be had.
    """
    family, address = _resolve(host, port, name)
    with ExitStack() as opened:
        try:
            if count > 1:  # whoever shares a port by SO_REUSEPORT hides that it is taken: ask without it first
                with _bound(family, address, shared=False) as probe:
                    address = probe.getsockname()
            sockets = [opened.enter_context(_bound(family, address, shared=count > 1)) for _ in range(count)]
        except OSError as error:
            raise refusal(error, address, name=name) from error
        opened.pop_all()
    return sockets


def bind_free(host: str, ports: range, *, name: str) -> socket.socket:
    """Bind the first of the ports that is free.

    Raises:
        CommandError: none is.
    """
    for port in ports:
        try:
            return bind(host, port, name=name)[0]
        except CommandError as error:
            if not _is_taken(error):
                raise
    raise CommandError([f"{name}: {host} has no free port from {ports[0]} to {ports[-1]}"])


def refusal(error: OSError, address: tuple[object, ...], *, name: str) -> CommandError:
    """Why an address cannot be had, for the operator."""
    reason = _REASONS.get(error.errno or 0, f"cannot be used: {error.strerror}")
    return CommandError([f"{name}: {show(address)} {reason}"])


def show(address: tuple[object, ...]) -> str:
    """An address as it stands in a URL."""
    host, port = str(address[0]), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_taken(error: CommandError) -> bool:
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE


def _resolve(host: str, port: int, name: str) -> tuple[int, tuple[object, ...]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CommandError([f"{name}: {host} cannot be resolved: {error.strerror}"]) from error
    return found[0][0], found[0][4]


def _bound(family: int, address: tuple[object, ...], *, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        if not shared:
            sock.listen()  # until someone listens, another may bind the same address
    except BaseException:
        sock.close()
        raise
    return sock
