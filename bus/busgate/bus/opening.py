"""From an address to a connection that is logged in: bounded in time, and with one line for whatever goes wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from .address import Address
from .connection import Connection
from .link import BusError, reason
from .tls import trouble

CONNECT_TIMEOUT = 5.0
"""Seconds for TCP, TLS, the handshake and what is to be prepared together."""

ConnectionT = TypeVar("ConnectionT", bound=Connection)


async def open_connection(
    address: Address,
    make: Callable[[], ConnectionT],
    *,
    name: str,
    heartbeat: int,
    prepare: Callable[[ConnectionT], Awaitable[None]],
) -> ConnectionT:
    """Connect, log in, and `prepare` what the connection is for.

    Raises:
        BusError: with the cause, in one line.
    """
    connection: ConnectionT | None = None
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, connection = await asyncio.get_running_loop().create_connection(
                make, address.host, address.port, ssl=address.tls
            )
            await connection.handshake(
                user=address.user,
                password=address.password,
                vhost=address.vhost,
                heartbeat=heartbeat,
                name=name,
            )
            await prepare(connection)
    except BaseException as error:
        if connection is not None:
            connection.forsake()
        if address.tls is not None and (told := trouble(error)) is not None:
            raise BusError(f"{address}: {told}") from error
        if isinstance(error, TimeoutError):
            raise BusError(f"{address}: no answer within {CONNECT_TIMEOUT:g} s") from error
        if isinstance(error, OSError):
            refused = isinstance(error, ConnectionRefusedError)
            raise BusError(f"{address}: {reason(error) if refused else error.strerror or error}") from error
        if isinstance(error, BusError):
            raise BusError(f"{address}: {error}", permanent=error.permanent) from error
        raise
    return connection
