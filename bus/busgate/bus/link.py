"""What the bus needs of a broker: a Broker to connect to and a Link, which is one generation of a connection.

Two pairs exist, with one behaviour suite: RabbitBroker and Lane (AMQP), EmbeddedBroker and EmbeddedLink
(in memory). Calls on a Link that publish or settle do not wait: what they say is on its way or the link is lost.
"""

import os
import re
from collections.abc import Callable, Iterable
from typing import Protocol

from .address import Address
from .wire import CallContext, Message


class LinkEvents:
    """What a link reports. The bus fills these in before it connects; each is called from the event loop."""

    __slots__ = (
        "on_blocked",
        "on_call",
        "on_cancelled",
        "on_lost",
        "on_refused",
        "on_reply",
        "on_returned",
        "on_undeliverable",
    )

    def __init__(self) -> None:
        def ignore(*_: object) -> None: ...

        self.on_reply: Callable[[Message], None] = ignore
        """A message on the reply queue, pings included."""
        self.on_call: Callable[[Link, Message], None] = ignore
        """A message on a queue that is consumed."""
        self.on_returned: Callable[[bytes], None] = ignore
        """No queue for the call with this correlation id (basic.return)."""
        self.on_refused: Callable[[bytes], None] = ignore
        """The queue refused the call with this correlation id (basic.nack)."""
        self.on_undeliverable: Callable[[], None] = ignore
        """A reply of ours found no reply queue: who called is gone."""
        self.on_blocked: Callable[[str | None], None] = ignore
        """The broker takes no messages, with the reason; None: it takes them again."""
        self.on_cancelled: Callable[[str], None] = ignore
        """The broker ended the consumer of this queue; for the reply queue too."""
        self.on_lost: Callable[[Exception | None], None] = ignore
        """The link is gone; nothing is called after this."""


class Link(Protocol):
    """One generation of a connection to a broker."""

    reply_queue: str
    """Where replies to this generation go; a new name each time."""

    congested: bool
    """The broker reads slower than we write."""

    def publish_call(
        self,
        topic: bytes,
        correlation_id: bytes,
        deadline_ms: int,
        expiration_ms: int,
        context: CallContext,
        body: bytes,
    ) -> None:
        """Publish a call, mandatory and confirmed. `topic` is the routing key, which is the queue's name."""

    def publish_reply(
        self, call: Message, kind: bytes, body: bytes, *, service: str, received_ms: int, ran_ms: int
    ) -> None:
        """Publish a reply or a problem to where `call` asked for it."""

    def ping(self) -> None:
        """Publish a message of type `ping` to our own reply queue."""

    def ack(self, tag: int) -> None:
        """Settle a delivery as done. Acks of one turn of the loop travel together."""

    def tap_replies(self, topics: frozenset[bytes]) -> None:
        """Ask for the replies of these topics under the second key of the reply queue, which taps hear too."""

    def tell_taps(self, topic: bytes, call_id: bytes, problem: bytes) -> None:
        """Tell those who tap the topic, if any do, that the reply to a call is not taken, and why."""

    def flush(self) -> None:
        """Send now what would leave at the end of this turn of the loop. For who knows that nothing joins it."""

    async def consume(self, queue: str, prefetch: int) -> None:
        """Start to consume. Raises BusError where the broker refuses."""

    async def cancel(self, queue: str) -> None:
        """Stop to consume; what was delivered stays ours to settle."""

    async def close(self) -> None:
        """Say goodbye, in bounded time; on_lost is not called."""

    def abort(self, why: str = "dropped by this process") -> None:
        """Drop the connection at once; on_lost is called, with `why` as its error."""


class Broker(Protocol):
    """Where links lead to."""

    @property
    def address(self) -> str:
        """For people: where it is, without secrets."""

    async def connect(self, events: LinkEvents, *, name: str, generation: int) -> Link:
        """Open a link, its reply queue declared and consumed. Raises BusError; bounded in time."""

    async def prepare(self, topics: Iterable[str]) -> None:
        """Make sure that exchanges and the queues of these topics exist. Raises BusError."""

    def control_address(self) -> Address | None:
        """Where the control bus is; None where there is none, because no other process can be there."""

    async def consumers(self, topic: str) -> int | None:
        """How many consumers the topic's queue has; None where there is no queue. Raises BusError."""


def reason(error: BaseException) -> str:
    """What an error of the network or of the client library says, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return _CONNECT.sub(lambda found: os.strerror(int(found[1])), text)


_CONNECT = re.compile(r"\[Errno (\d+)\] Connect call failed \([^)]*\)")
"""How asyncio says that nobody listens."""


class BusError(Exception):
    """The broker cannot be used, and why, in one line for an operator.

    `permanent`: trying again will not help (wrong password, wrong vhost, a queue declared otherwise).
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent
