"""Calls from a script or a notebook: no HTTP, no service around it, one connection.

async with connect("amqp://user:password@host/vhost") as bus:
    order = await bus.call(place_order, PlaceOrder(sku="A-1"))
"""

import logging
import sys

import structlog
from pydantic import ValidationError

from busgate.contracts import Call, Caller
from busgate.contracts.call import ReplyT, RequestT

from .bus import Bus
from .lifecycle import Lifecycle
from .rabbit import RabbitBroker
from .settings import BusSettings
from .typed import TypedCalls
from .wire import Ids, new_context

NAME = "script"


def connect(url: str | BusSettings, *, caller: Caller | None = None) -> "Client":
    """A client that connects when it is entered (`async with`) or started.

    Args:
        url: of the broker, `amqp://user:password@host:port/vhost`; BusSettings where there is more to say (TLS,
            several nodes, a name for the broker's lists, the seconds to wait for it).
        caller: on whose behalf the calls are made; None: nobody's, as for a public contract.

    Raises:
        ValueError: the url is none, or is refused because it is not safe.
    """
    return Client(url if isinstance(url, BusSettings) else _settings(url), caller=caller)


class Client(Lifecycle):
    """Typed calls over a connection of its own, which is opened anew when it falls."""

    def __init__(self, settings: BusSettings, *, caller: Caller | None = None) -> None:
        if settings.embedded:
            raise ValueError("memory:// lives inside one process; a client needs a RabbitMQ: amqp://...")
        self._settings = settings
        self._caller = b"" if caller is None else caller.to_json()
        self._ids = Ids()
        self._bus: Bus | None = None
        self._calls: TypedCalls | None = None

    async def call(
        self,
        contract: Call[RequestT, ReplyT],
        request: RequestT,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it travels with the call
    ) -> ReplyT:
        """Call a contract and wait for its reply.

        Args:
            contract: what to call.
            request: of the contract's model; what it leaves unset stays unset on the wire.
            timeout: seconds until nobody waits any more; None is the contract's.

        Raises:
            Problem: one that the contract declares, as its own class.
            CallFailed: there was no reply that can be believed; `kind.outcome` says whether the work was done.
        """
        if self._calls is None:
            raise RuntimeError("not connected: use `async with connect(...) as bus`, or await bus.start()")
        budget = contract.timeout if timeout is None else timeout
        return await self._calls.to(contract).call(request, new_context(self._ids, self._caller), budget)

    async def start(self) -> None:
        """Connect. Makes no exchange and no queue but the one that replies come to.

        Raises:
            BusError: the broker cannot be used.
        """
        _log_little()
        settings = self._settings
        broker = RabbitBroker(
            settings.addresses(), kind=settings.exchange_kind, heartbeat=settings.heartbeat, makes=False
        )
        bus = Bus(broker, name=settings.name or NAME, max_waiting=settings.max_waiting)
        await bus.start(settings.connect_wait)
        self._bus, self._calls = bus, TypedCalls(bus)

    async def close(self) -> None:
        """Say goodbye; calls that still wait are answered as lost."""
        bus, self._bus, self._calls = self._bus, None, None
        if bus is not None:
            await bus.close()


def _settings(url: str) -> BusSettings:
    try:
        return BusSettings.model_validate({"url": url})
    except ValidationError as error:
        raise ValueError("; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())) from None


def _log_little() -> None:
    """Where nobody has set up structlog it writes everything to stdout, which belongs to the script."""
    if not structlog.is_configured():
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )
