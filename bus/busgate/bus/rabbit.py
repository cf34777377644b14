"""RabbitMQ as a Broker: several addresses, a lane for the calls, aio-pika for the topology."""

from collections.abc import Iterable, Sequence

import structlog

from .address import Address
from .lane import Lane, open_lane
from .link import BusError, LinkEvents
from .topology import ExchangeKind, Topology

log = structlog.stdlib.get_logger("busgate.bus")

HEARTBEAT = 5
"""Seconds. RabbitMQ's documentation calls 5 to 20 s optimal; a peer counts as gone after two of them."""


class RabbitBroker:
    """The nodes of one RabbitMQ cluster; the next one is tried when one cannot be reached.

    `makes`: exchanges and queues that are missing are made; a visitor leaves the topology as it is.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        *,
        kind: ExchangeKind = "direct",
        heartbeat: int = HEARTBEAT,
        makes: bool = True,
    ) -> None:
        if not addresses:
            raise ValueError("a broker needs an address")
        self._addresses = list(addresses)
        self._kind: ExchangeKind = kind
        self._heartbeat = heartbeat
        self._makes = makes

    @property
    def address(self) -> str:
        return str(self._addresses[0])

    async def connect(self, events: LinkEvents, *, name: str, generation: int) -> Lane:
        try:
            return await open_lane(
                self._addresses[0], events, name=name, generation=generation, heartbeat=self._heartbeat
            )
        except BusError as error:
            self._next_address()
            if not self._makes and "no exchange" in str(error):
                raise BusError(f"{error}: nobody serves on this vhost yet", permanent=True) from error
            raise

    async def prepare(self, topics: Iterable[str]) -> None:
        if not self._makes:
            return
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
            depth = await topology.depth(topic)
        return None if depth is None else depth.consumers

    def control_address(self) -> Address:
        return self._addresses[0]

    async def delete(self, topics: Iterable[str]) -> None:
        """Delete the queues of these topics with all that waits in them. Raises BusError."""
        async with self._topology() as topology:
            await topology.delete(topics)

    def _topology(self) -> Topology:
        return Topology(self._addresses[0], kind=self._kind)

    def _next_address(self) -> None:
        self._addresses.append(self._addresses.pop(0))
