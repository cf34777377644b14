"""The lane: one data-plane AMQP connection that carries calls, replies and acks. ADR-0002 says why it is ours.

Channel 1 publishes calls (mandatory, confirmed) and consumes replies; channel 2 consumes calls and publishes
replies and pings, without confirms: the one who waits for a reply notices when it does not come.
"""

import asyncio
import secrets
import ssl
from collections.abc import Iterable
from dataclasses import dataclass

import pamqp.commands as amqp
from pamqp.base import Frame

from .connection import Connection
from .frames import CallTemplate, ReplyTemplate, encode_ack, encode_ping
from .link import BusError, Link, LinkEvents
from .wire import REPLIES_EXCHANGE, REPLY_QUEUE_PREFIX, TAPPED_SUFFIX, CallContext, Message

CALLS, WORK = 1, 2
CONNECT_TIMEOUT = 5.0
"""Seconds for TCP, TLS, the handshake and the reply queue together."""


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a broker, with what it takes to log in."""

    host: str
    port: int
    vhost: str
    user: str
    password: str
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return f"{'amqps' if self.tls else 'amqp'}://{self.user}@{self.host}:{self.port}/{self.vhost.lstrip('/')}"

    __repr__ = __str__


async def open_lane(address: Address, events: LinkEvents, *, name: str, generation: int, heartbeat: int) -> "Lane":
    """Connect, log in, and have a reply queue consumed.

    Raises:
        BusError: with the cause, in one line.
    """
    lane: Lane | None = None
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, lane = await asyncio.get_running_loop().create_connection(
                lambda: Lane(events, name=name), address.host, address.port, ssl=address.tls
            )
            await lane.handshake(
                user=address.user,
                password=address.password,
                vhost=address.vhost,
                heartbeat=heartbeat,
                name=name,
            )
            await lane.open(f"{REPLY_QUEUE_PREFIX}{name}.{generation}.{secrets.token_hex(6)}")
    except BaseException as error:
        if lane is not None:
            lane.forsake()
        if isinstance(error, TimeoutError):
            raise BusError(f"{address}: no answer within {CONNECT_TIMEOUT:g} s") from error
        if isinstance(error, OSError):
            raise BusError(f"{address}: {error.strerror or error}") from error
        if isinstance(error, BusError):
            raise BusError(f"{address}: {error}", permanent=error.permanent) from error
        raise
    return lane


class Lane(Connection):
    """A Link over AMQP. Open one with `open_lane`."""

    def __init__(self, events: LinkEvents, *, name: str) -> None:
        super().__init__()
        self._events = events
        self._app_id = name.encode()
        self.reply_queue = ""
        self._call_templates: dict[bytes, CallTemplate] = {}
        self._reply_templates: dict[str, ReplyTemplate] = {}
        self._published = 0
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

    def forsake(self) -> None:
        """Drop a lane that nobody holds yet: on_lost is not called."""
        self._closing = True
        self.abort()

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
            template = self._call_templates[topic] = CallTemplate(
                topic,
                channel=CALLS,
                reply_queue=self.reply_queue.encode(),
                app_id=self._app_id,
                frame_max=self.frame_max,
            )
        self._published += 1
        self._unconfirmed[self._published] = correlation_id
        self.write(*template.encode(correlation_id, deadline_ms, expiration_ms, context, body))

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
        template = self._reply_templates.get(service)
        if template is None:
            template = self._reply_templates[service] = ReplyTemplate(
                service.encode(), channel=WORK, app_id=self._app_id, frame_max=self.frame_max
            )
        self.write(*template.encode(call.reply_to, call.correlation_id, kind, received_ms, ran_ms, body))

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
