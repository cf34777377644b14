"""A plain aio-pika connection, for all that is not a call, and its many errors as one BusError of one line."""

import asyncio
import logging

import aio_pika
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    InvalidFrameError,
    ProbableAuthenticationError,
)

from .address import Address
from .link import BusError, reason
from .opening import CONNECT_TIMEOUT
from .tls import trouble


class _Connection(aio_pika.Connection):
    """Hangs up when it cannot connect; else the library does so when it is collected, in whatever thread that is."""

    async def connect(self, timeout: aio_pika.abc.TimeoutType = None) -> None:  # noqa: ASYNC109 - theirs
        try:
            await super().connect(timeout)
        except BaseException:
            await self.close()
            raise


async def connect(address: Address, *, name: str) -> AbstractConnection:
    """A connection that is not restored when it falls. `name` is for the broker's lists."""
    for logger in ("aio_pika", "aiormq"):  # every error reaches us as an exception; they log it as well
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    return await aio_pika.connect(
        host=address.host,
        port=address.port,
        login=address.user,
        password=address.password,
        virtualhost=address.vhost,
        ssl=address.tls is not None,
        ssl_context=address.tls,
        timeout=CONNECT_TIMEOUT,
        heartbeat=5,
        name=name,
        connection_class=_Connection,
    )


class one_line:  # noqa: N801 - reads as the statement it is
    """Turns every error of the client library into a BusError of one line."""

    def __init__(self, address: Address | None) -> None:
        self._address = address

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ChannelPreconditionFailed):
            raise BusError(
                f"{self._address}: {reason(error)}; it was declared otherwise before: delete it, or use another vhost",
                permanent=True,
            ) from error
        if isinstance(error, ChannelAccessRefused):
            temporary = "to queue 'busgate." in str(error)  # its name is drawn at random: nobody can make it before
            cure = "" if temporary else ", or let an operator run `busgate topology --apply`"
            raise BusError(
                f"{self._address}: {reason(error)}; grant it{cure}",
                permanent=True,
            ) from error
        if isinstance(error, ChannelNotFoundEntity):
            raise BusError(
                f"{self._address}: {reason(error)}; another vhost is meant, or `busgate topology --apply` is to make it"
            ) from error
        if isinstance(error, (AuthenticationError, ProbableAuthenticationError)):
            raise BusError(f"{self._address}: {reason(error)}", permanent=True) from error
        if isinstance(error, InvalidFrameError) and "Connection.OpenOk" in str(error):  # it drops the broker's words
            raise BusError(
                f"{self._address}: the broker refuses this vhost: it does not exist, or the user has no rights in it",
                permanent=True,
            ) from error
        over_tls = self._address is not None and self._address.tls is not None
        if over_tls and isinstance(error, (AMQPError, OSError)) and (told := trouble(error)) is not None:
            raise BusError(f"{self._address}: {told}") from error
        if isinstance(error, TimeoutError):
            raise BusError(f"{self._address}: no answer within {CONNECT_TIMEOUT:g} s") from error
        if isinstance(error, (AMQPError, ChannelInvalidStateError, OSError)):
            raise BusError(f"{self._address}: {reason(error)}") from error
        if (isinstance(error, asyncio.CancelledError) and not _cancelled_from_outside()) or _is_closed(error):
            raise BusError(f"{self._address}: the connection fell") from error  # how aiormq says so


def _is_closed(error: BaseException | None) -> bool:
    return isinstance(error, RuntimeError) and str(error).endswith(" closed")


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
