"""RabbitMQ as a Broker: several addresses, a lane for the calls, aio-pika for the topology."""

from collections.abc import Iterable, Sequence

import structlog

from .lane import Address, Lane, open_lane
from .link import BusError, LinkEvents
from .topology import ExchangeKind, Topology

log = structlog.stdlib.get_logger("busgate.bus")

HEARTBEAT = 5
"""Seconds. RabbitMQ's documentation calls 5 to 20 s optimal; a peer counts as gone after two of them."""


class RabbitBroker:
    """The nodes of one RabbitMQ cluster; the next one is tried when one cannot be reached."""

    def __init__(
        self, addresses: Sequence[Address], *, kind: ExchangeKind = "direct", heartbeat: int = HEARTBEAT
    ) -> None:
        if not addresses:
            raise ValueError("a broker needs an address")
        self._addresses = list(addresses)
        self._kind: ExchangeKind = kind
        self._heartbeat = heartbeat

    @property
    def address(self) -> str:
        return str(self._addresses[0])

    async def connect(self, events: LinkEvents, *, name: str, generation: int) -> Lane:
        try:
            return await open_lane(
                self._addresses[0], events, name=name, generation=generation, heartbeat=self._heartbeat
            )
        except BusError:
            self._next_address()
            raise

    async def prepare(self, topics: Iterable[str]) -> None:
        try:
            async with self._topology() as topology:
                parts = await topology.make(topics)
        except BusError:
            self._next_address()
            raise
        for part in parts:
            if part.state == "made":
                log.info("made what was missing", what=part.what, name=part.name)

    async def consumers(self, topic: str) -> int | None:
        async with self._topology() as topology:
            return await topology.consumers(topic)

    def _topology(self) -> Topology:
        return Topology(self._addresses[0], kind=self._kind)

    def _next_address(self) -> None:
        self._addresses.append(self._addresses.pop(0))
