"""The lane: one data-plane AMQP connection that carries calls, replies and acks. ADR-0002 says why it is ours.

Channel 1 publishes calls (mandatory, confirmed) and consumes replies; channel 2 consumes calls and publishes
replies and pings, without confirms: the one who waits for a reply notices when it does not come.
"""

import secrets
from collections.abc import Iterable

import pamqp.commands as amqp
from pamqp.base import Frame

from .address import Address
from .connection import Connection
from .frames import CallTemplate, ReplyTemplate, encode_ack, encode_ping
from .link import Link, LinkEvents
from .opening import open_connection
from .wire import REPLIES_EXCHANGE, REPLY_QUEUE_PREFIX, TAPPED_SUFFIX, TYPE_REFUSED, CallContext, Message

CALLS, WORK = 1, 2


async def open_lane(address: Address, events: LinkEvents, *, name: str, generation: int, heartbeat: int) -> "Lane":
    """Connect, log in, and have a reply queue consumed.

    Raises:
        BusError: with the cause, in one line.
    """
    reply_queue = f"{REPLY_QUEUE_PREFIX}{name}.{generation}.{secrets.token_hex(6)}"
    return await open_connection(
        address, lambda: Lane(events), name=name, heartbeat=heartbeat, prepare=lambda lane: lane.open(reply_queue)
    )


class Lane(Connection):
    """A Link over AMQP. Open one with `open_lane`."""

    def __init__(self, events: LinkEvents) -> None:
        super().__init__()
        self._events = events
        self.reply_queue = ""
        self._call_templates: dict[bytes, CallTemplate] = {}
        self._reply_templates: dict[str, ReplyTemplate] = {}
        self._published = 0
        self._tapped: frozenset[bytes] = frozenset()
        self._unconfirmed: dict[int, bytes] = {}
        self._unsettled: dict[int, None] = {}
        self._finished: list[int] = []
        self._ping = b""

    async def open(self, reply_queue: str) -> None:
        """Open both channels, then declare, bind and consume the reply queue."""
        for channel in (CALLS, WORK):
            await self.call(channel, amqp.Channel.Open())
        await self.call(CALLS, amqp.Confirm.Select())
        await self.call(
            CALLS,
            amqp.Queue.Declare(queue=reply_queue, exclusive=True, arguments={"x-queue-type": "classic"}),
        )
        for key in (reply_queue, reply_queue + TAPPED_SUFFIX):
            await self.call(CALLS, amqp.Queue.Bind(queue=reply_queue, exchange=REPLIES_EXCHANGE, routing_key=key))
        await self.call(CALLS, amqp.Basic.Consume(queue=reply_queue, consumer_tag=reply_queue, no_ack=True))
        self.reply_queue = reply_queue
        self._ping = encode_ping(reply_queue.encode(), channel=WORK, expiration_ms=3000)

    # -- calls out

    def publish_call(
        self,
        topic: bytes,
        correlation_id: bytes,
        deadline_ms: int,
        expiration_ms: int,
        context: CallContext,
        body: bytes,
    ) -> None:
        template = self._call_templates.get(topic)
        if template is None:
            reply_queue = self.reply_queue + (TAPPED_SUFFIX if topic in self._tapped else "")
            template = self._call_templates[topic] = CallTemplate(
                topic, channel=CALLS, reply_queue=reply_queue.encode(), frame_max=self.frame_max
            )
        self._published += 1
        self._unconfirmed[self._published] = correlation_id
        self.write(*template.encode(correlation_id, deadline_ms, expiration_ms, context, body))

    def tap_replies(self, topics: frozenset[bytes]) -> None:
        for topic in topics ^ self._tapped:
            self._call_templates.pop(topic, None)
        self._tapped = topics

    def tell_taps(self, topic: bytes, call_id: bytes, problem: bytes) -> None:
        if topic in self._tapped:
            key = (self.reply_queue + TAPPED_SUFFIX).encode()  # it comes back here too, where it means nothing
            self.write(*self._reply_template("").encode(key, call_id, TYPE_REFUSED, 0, 0, problem))

    def ping(self) -> None:
        self.write(self._ping)

    def confirm_arrived(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        for number in self._confirmed(tag) if multiple else (tag,):
            correlation_id = self._unconfirmed.pop(number, None)
            if correlation_id is not None and not accepted:
                self._events.on_refused(correlation_id)

    def _confirmed(self, tag: int) -> Iterable[int]:
        numbers = []
        for number in self._unconfirmed:  # in the order of publishing
            if number > tag:
                break
            numbers.append(number)
        return numbers

    # -- calls in

    async def consume(self, queue: str, prefetch: int) -> None:
        await self.call(WORK, amqp.Basic.Qos(prefetch_count=prefetch))  # for the consumers that come, not per channel
        await self.call(WORK, amqp.Basic.Consume(queue=queue, consumer_tag=queue))

    async def cancel(self, queue: str) -> None:
        await self.call(WORK, amqp.Basic.Cancel(consumer_tag=queue))

    def publish_reply(
        self, call: Message, kind: bytes, body: bytes, *, service: str, received_ms: int, ran_ms: int
    ) -> None:
        template = self._reply_templates.get(service) or self._reply_template(service)
        self.write(*template.encode(call.reply_to, call.correlation_id, kind, received_ms, ran_ms, body))

    def _reply_template(self, service: str) -> ReplyTemplate:
        return self._reply_templates.setdefault(
            service, ReplyTemplate(service.encode(), channel=WORK, frame_max=self.frame_max)
        )

    def ack(self, tag: int) -> None:
        self._finished.append(tag)
        self.write()

    def before_flush(self, out: list[bytes]) -> None:
        """Ack what finished in this turn: all below the oldest delivery still running at once, the rest singly.

        A bare watermark would let one slow handler hold back the acks of all others, and with them the prefetch.
        """
        if not self._finished:
            return
        unsettled = self._unsettled
        finished = [tag for tag in self._finished if unsettled.pop(tag, tag) is None]
        self._finished.clear()
        oldest = next(iter(unsettled), None)
        if oldest is None:
            below, above = finished, []
        else:
            below = [tag for tag in finished if tag < oldest]
            above = [tag for tag in finished if tag > oldest]
        if below:
            out.append(encode_ack(WORK, max(below), multiple=True))
        out.extend(encode_ack(WORK, tag, multiple=False) for tag in above)

    # -- what arrives

    def message_arrived(self, channel: int, message: Message, *, returned: bool) -> None:
        if returned:
            if channel == CALLS:
                self._events.on_returned(message.correlation_id)
            else:
                self._events.on_undeliverable()
        elif channel == CALLS:
            self._events.on_reply(message)
        else:
            self._unsettled[message.tag] = None
            self._events.on_call(self, message)

    def method_arrived(self, channel: int, method: Frame) -> None:
        if isinstance(method, amqp.Connection.Blocked):
            self._events.on_blocked(method.reason or "no reason given")
        elif isinstance(method, amqp.Connection.Unblocked):
            self._events.on_blocked(None)
        elif isinstance(method, amqp.Basic.Cancel):
            self._events.on_cancelled(method.consumer_tag or "")
        elif isinstance(method, amqp.Channel.Flow):
            self.send(channel, amqp.Channel.FlowOk(active=method.active))

    def link_lost(self, error: Exception | None) -> None:
        self._events.on_lost(error)


def _is_a_link(lane: Lane) -> Link:
    return lane  # for the type checker: a Lane has all that a Link promises
