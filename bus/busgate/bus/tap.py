"""A wire tap on RabbitMQ: copies of the calls of some topics and of their replies, without a trace for who calls.

Calls: a queue of the tap's own is bound to the tapped topics' keys, only where the service's own queue exists, or it
would hide from a caller that nobody serves the topic. Replies: the tap holds a lease, and while it does, edges and
workers use the second key of their reply queues for these topics, which the tap's queue is bound to as well. The lease
comes first: a call that was sent before its sender heard of it has a reply that no tap hears. The queue of a tap
is exclusive, bounded, and keeps nothing: what its reader does not take at once is dropped. So a tap that nobody
reads costs the broker hardly more than the routing (docs/performance.md).
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from fnmatch import fnmatchcase

import pamqp.commands as amqp
from pamqp.base import Frame
from pamqp.common import FieldTable

from .address import Address
from .connection import Connection
from .control import QUEUE_PREFIX
from .link import BusError
from .opening import open_connection
from .pairing import Heard
from .presence import Presence, TapLease, tap_key
from .roll_call import WAIT, RollCall
from .topology import Topology
from .wire import CALLS_EXCHANGE, REPLIES_EXCHANGE, TAPPED_SUFFIX, TYPE_CALL, Message, is_reply_queue

CHANNEL = 1
HEARTBEAT = 5
LOOK_EVERY = 2.0
"""Seconds between two looks at who is there and which queues there are; each renews the lease."""
LOOK_PATIENCE = 30.0
"""Seconds for one look, which asks for each topic in turn."""
LEASE = 6.0
"""Seconds of a lease: two may be lost."""
HONOURED_WITHIN = 0.4
"""Seconds from a lease to the first copy: who calls has heard of it, and who serves has said what is secret."""
ON_THE_WAY = 0.5
"""Seconds in which a worker usually has what was sent before a topic was tapped."""
MOST_REPLY_QUEUES = 10_000
FORGOTTEN_AFTER = 120.0
"""Seconds after which a reply queue is not listened to any more that nobody announced and no call named."""
QUEUE_ARGUMENTS: FieldTable = {  # RabbitMQ lets a reader be 200 messages behind before it counts as not there
    "x-queue-type": "classic",
    "x-max-length": 10_000,
    "x-max-length-bytes": 32 * 1024 * 1024,
    "x-overflow": "drop-head",
    "x-message-ttl": 0,
}

Sink = Callable[[Message], None]


class TapLink(Connection):
    """The connection of a tap: its queue, and what arrives in it. The lane's parser keeps up with what it copies.

    Args:
        queue: its name.
        sink: gets each copy.
        stir: set when the link is lost.
    """

    def __init__(self, queue: str, sink: Sink, stir: asyncio.Event) -> None:
        super().__init__()
        self._queue = queue
        self._sink = sink
        self._stir = stir
        self.lost = False
        self.error: Exception | None = None

    async def open(self, *, read: bool = True) -> None:
        """Declare the queue, and have it read."""
        await self.call(CHANNEL, amqp.Channel.Open())
        await self.call(CHANNEL, amqp.Queue.Declare(queue=self._queue, exclusive=True, arguments=QUEUE_ARGUMENTS))
        if read:
            await self.call(CHANNEL, amqp.Basic.Consume(queue=self._queue, no_ack=True))

    async def bind(self, exchange: str, key: str) -> None:
        await self.call(CHANNEL, amqp.Queue.Bind(queue=self._queue, exchange=exchange, routing_key=key))

    async def unbind(self, exchange: str, key: str) -> None:
        await self.call(CHANNEL, amqp.Queue.Unbind(queue=self._queue, exchange=exchange, routing_key=key))

    def message_arrived(self, channel: int, message: Message, *, returned: bool) -> None:  # noqa: ARG002 - one channel
        self._sink(message)

    def confirm_arrived(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        pass  # it publishes nothing

    def method_arrived(self, channel: int, method: Frame) -> None:  # noqa: ARG002 - one channel
        if isinstance(method, amqp.Basic.Cancel):
            self.abort()  # somebody deleted its queue

    def link_lost(self, error: Exception | None) -> None:
        self.error = error
        self.lost = True
        self._stir.set()


class Tap:
    """A tap of the topics that a pattern names; `*` stands for any text.

    Args:
        find: the address of the broker now.
        pattern: of topics.
        sink: gets each copy.
        heard: gets each presence, which also tells what is secret.
        read: whether what is copied is read; without, its queue fills up, to see what that costs.
    """

    def __init__(
        self,
        find: Callable[[], Address | None],
        pattern: str,
        sink: Sink,
        *,
        heard: Callable[[Presence], None] = lambda _: None,
        read: bool = True,
    ) -> None:
        self._find = find
        self._pattern = pattern
        self._sink = sink
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._stir = asyncio.Event()
        """Something is to be done before the next look."""
        self._calls: set[str] = set()
        self._replies: dict[str, float] = {}
        """The reply queues that are listened to, and when they were last heard of."""
        self._unheard: set[str] = set()
        """Those that a call named, and that are not listened to yet."""
        self._since_ms = 0.0
        self.settled = False
        """Whether it looked when all had had the time to say that they are there."""
        self.name = f"tap-{secrets.token_hex(4)}"
        self.roll = RollCall(find, name=self.name, heard=heard)
        """Who is there."""

    @property
    def topics(self) -> list[str]:
        """What is tapped now."""
        return sorted(self._calls)

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Tap until cancelled.

        Raises:
            BusError: the broker cannot be used, or the connection fell.
        """
        address = self._find()
        if address is None:
            raise BusError("there is no broker to tap: the embedded bus lives in another process")
        link: TapLink | None = None
        try:
            await self.roll.open()
            link = await open_connection(
                address,
                lambda: TapLink(f"{QUEUE_PREFIX}{self.name}", self._take, self._stir),
                name=self.name,
                heartbeat=HEARTBEAT,
                prepare=lambda link: link.open(read=self._read),
            )
            async with Topology(address) as topology:
                await self._keep(link, topology, ready)
            raise BusError(f"{address}: {link.error}")
        finally:
            await self._end(link)

    def since(self) -> float:
        """Epoch milliseconds: of what a worker received before, there may be a reply without a call."""
        return self._since_ms

    def hears(self, reply_to: bytes) -> Heard:
        """Whether a reply to this address comes here too, for a call that was just seen."""
        key = reply_to.decode("ascii", "replace")
        if not key.endswith(TAPPED_SUFFIX) or not is_reply_queue(reply_to):
            return "no"  # sent before its sender heard of the lease, or by who does not know what that is
        return "yes" if key.removesuffix(TAPPED_SUFFIX) in self._replies else "perhaps"

    def _take(self, message: Message) -> None:
        """A copy. A process that just connected anew names its reply queue here before it announces it."""
        if message.type == TYPE_CALL:
            heard = self.hears(message.reply_to)
            if heard != "no":
                queue = message.reply_to.decode("ascii").removesuffix(TAPPED_SUFFIX)
                if heard == "yes":
                    self._replies[queue] = self._loop.time()
                elif len(self._unheard) < MOST_REPLY_QUEUES:
                    self._unheard.add(queue)
                    self._stir.set()
        self._sink(message)

    async def _keep(self, link: TapLink, topology: Topology, ready: Callable[[], None]) -> None:
        first = True
        settles = self._loop.time() + WAIT
        while not link.lost:
            settled = self._loop.time() > settles
            try:
                async with asyncio.timeout(LOOK_PATIENCE):
                    await self._look(link, topology)
            except TimeoutError:
                raise BusError(f"the broker took longer than {LOOK_PATIENCE:g} s to bind a tap") from None
            self.settled = settled
            if first and self._calls:
                ready()
                first = False
            try:  # the first answers come within a moment, and nobody should wait two seconds for them
                async with asyncio.timeout(LOOK_EVERY if self._calls else LOOK_EVERY / 10):
                    while not link.lost:
                        await self._stir.wait()
                        self._stir.clear()
                        await self._listen(link, self._unheard)
            except TimeoutError:
                pass  # time to look again

    async def _look(self, link: TapLink, topology: Topology) -> None:
        present = self.roll.present
        topics = sorted({contract.topic for presence in present for contract in presence.contracts})
        wanted = [topic for topic in topics if fnmatchcase(topic, self._pattern)]
        exist = {topic for topic, depth in (await topology.depths(wanted)).items() if depth is not None}
        lease = TapLease(topics=sorted(exist), seconds=LEASE)
        if not await self.roll.tell(tap_key(self.name), lease.model_dump_json().encode()):
            raise BusError("the control connection of the tap fell")
        for topic in self._calls - exist:
            await link.unbind(CALLS_EXCHANGE, topic)
        self._calls &= exist
        if exist - self._calls:
            await asyncio.sleep(HONOURED_WITHIN)
        await self._listen(link, _reply_queues(self.roll.present))
        await self._forget(link)
        for topic in exist - self._calls:
            await link.bind(CALLS_EXCHANGE, topic)
            self._since_ms = (time.time() + ON_THE_WAY) * 1000
        self._calls = exist

    async def _listen(self, link: TapLink, reply_queues: set[str]) -> None:
        """Have replies copied that go to these queues."""
        for queue in [*reply_queues]:
            self._unheard.discard(queue)
            if queue not in self._replies:
                if len(self._replies) >= MOST_REPLY_QUEUES:
                    continue
                await link.bind(REPLIES_EXCHANGE, queue + TAPPED_SUFFIX)
            self._replies[queue] = self._loop.time()

    async def _forget(self, link: TapLink) -> None:
        long_ago = self._loop.time() - FORGOTTEN_AFTER
        for queue in [queue for queue, heard in self._replies.items() if heard < long_ago]:
            del self._replies[queue]
            await link.unbind(REPLIES_EXCHANGE, queue + TAPPED_SUFFIX)

    async def _end(self, link: TapLink | None) -> None:
        """Give the lease back and hang up: the queue and its bindings end with the connection."""
        await self.roll.tell(tap_key(self.name), TapLease(topics=[], seconds=LEASE).model_dump_json().encode())
        if link is not None:
            await link.close()
        await self.roll.close()


def _reply_queues(present: list[Presence]) -> set[str]:
    return {presence.reply_queue for presence in present if is_reply_queue(presence.reply_queue.encode())}
