"""A stage: the bus of one test, embedded or on a RabbitMQ, with queues that nobody else uses.

What happens on it is real: contracts, the wire, deadlines, redelivery. A test may look at each call before it is
sent and refuse it, and may step between a queue and its handler. `busgate.workers.testing` is made of it, and
`busgate.edge.testing`.
"""

import secrets
from collections.abc import Callable
from functools import cached_property

from .bus import Bus
from .consumer import Check, Handle
from .embedded import EmbeddedBroker
from .link import Broker
from .rabbit import RabbitBroker
from .requester import Endpoint, Requester, WaitingCall
from .wire import CallContext

PREFIX = "test-"
"""What the names of all queues of tests on a RabbitMQ begin with."""


class Stage:
    """Buses that reach each other, and nobody else.

    Args:
        broker: a RabbitMQ; None is a new embedded one. On a RabbitMQ the name of each queue gets a prefix, new
            for each stage, so that neither other tests nor running services see its calls.
    """

    def __init__(self, broker: RabbitBroker | None = None) -> None:
        self.before_call: Callable[[str, CallContext], None] = lambda _topic, _context: None
        """Called before a call is sent; it may raise CallFailed."""
        self.crashes: dict[bytes, BaseException] = {}
        """What handlers raised that their contracts do not declare, the first of each trace, by its id."""
        self._rabbit = broker
        self._broker: Broker = broker or EmbeddedBroker()
        self._prefix = f"{PREFIX}{secrets.token_hex(4)}." if broker else ""
        self._served: set[str] = set()

    @cached_property
    def signing_pem(self) -> bytes:
        """The key that callers are signed with here; new for each stage. Needs `pip install 'busgate[trust]'`."""
        from .signed import new_pem  # noqa: PLC0415 - needs cryptography, and few tests need it

        return new_pem()

    @property
    def address(self) -> str:
        return self._broker.address

    def bus(self, name: str) -> "StageBus":
        """A bus on this stage, not started yet."""
        return StageBus(self, self._broker, name=name)

    def queue(self, topic: str) -> str:
        """What the queue of a topic is called here."""
        return self._prefix + topic

    def serves(self, topic: str) -> None:
        """Note that a topic has a queue here now."""
        self._served.add(self.queue(topic))

    def note_crash(self, traceparent: str, error: BaseException) -> None:
        self.crashes.setdefault(traceparent[3:35].encode(), error)

    async def clear(self) -> None:
        """Delete the queues; the exchanges of busgate stay. Raises BusError."""
        served, self._served = self._served, set()
        if self._rabbit is not None:
            await self._rabbit.delete(served)


class StageBus(Bus):
    """A bus on a stage. Topics are those of the contracts; only the broker sees the prefix."""

    def __init__(self, stage: Stage, broker: Broker, *, name: str) -> None:
        super().__init__(broker, name=name)
        self.around: Callable[[str, Handle], Handle] = lambda _topic, handle: handle
        """Called with each topic that is served and its handle; what it returns runs instead."""
        self._stage = stage
        self._endpoints: dict[str, _StageEndpoint] = {}

    def endpoint(self, topic: str, *, timeout: float = 5.0) -> Endpoint:
        endpoint = self._endpoints.get(topic)
        if endpoint is None:
            endpoint = self._endpoints[topic] = _StageEndpoint(self._stage, self.requester, topic, timeout)
        return endpoint

    def serve(
        self, topic: str, handle: Handle, *, prefetch: int, reruns: bool, service: str, check: Check | None = None
    ) -> None:
        self._stage.serves(topic)
        super().serve(
            self._stage.queue(topic),
            self.around(topic, handle),
            prefetch=prefetch,
            reruns=reruns,
            service=service,
            check=check,
        )


class _StageEndpoint(Endpoint):
    __slots__ = ("_contract_topic", "_stage")

    def __init__(self, stage: Stage, requester: Requester, topic: str, timeout: float) -> None:
        super().__init__(requester, stage.queue(topic), timeout)
        self._stage = stage
        self._contract_topic = topic

    def call(self, body: bytes, context: CallContext, budget: float) -> WaitingCall:
        self._stage.before_call(self._contract_topic, context)
        return super().call(body, context, budget)
