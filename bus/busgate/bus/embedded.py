"""The embedded bus: a broker inside one process, for the demo, for `busgate dev` and for tests of services.

It does what RabbitMQ does with calls: competing consumers in turn, prefetch, returns, message TTL from the moment
of queueing, redelivery in the old place, refusal by a full queue, alarms. One behaviour suite runs on both. What
must outlive the process, or leave it, needs RabbitMQ.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from .link import BusError, LinkEvents
from .wire import (
    CALLS_EXCHANGE,
    CONTENT_TYPE,
    QUEUE_ARGUMENTS,
    REPLIES_EXCHANGE,
    REPLY_QUEUE_PREFIX,
    TYPE_CALL,
    TYPE_PING,
    TYPE_REFUSED,
    VERSION,
    CallContext,
    Message,
)

_EXPIRES = int(QUEUE_ARGUMENTS["x-expires"]) / 1000


class EmbeddedBroker:
    """A broker in memory. Every Bus of the process that is given the same one is connected."""

    address = "memory://"

    def __init__(self) -> None:
        self.queues: dict[str, EmbeddedQueue] = {}
        self.links: dict[str, EmbeddedLink] = {}
        """By the reply queue of each."""
        self.alarm: str | None = None
        self.down = False
        self.limits: dict[str, int] = {}
        """Lengths at which queues refuse more, by topic."""
        self.sinks: list[Callable[[Message], None]] = []
        """Of those who tap."""

    async def connect(self, events: LinkEvents, *, name: str, generation: int) -> "EmbeddedLink":
        if self.down:
            raise BusError("memory://: the embedded broker is stopped")
        link = EmbeddedLink(self, events, f"{REPLY_QUEUE_PREFIX}{name}.{generation}.{secrets.token_hex(6)}")
        self.links[link.reply_queue] = link
        return link

    async def prepare(self, topics: Iterable[str]) -> None:
        if self.down:
            raise BusError("memory://: the embedded broker is stopped")
        for topic in topics:
            queue = self.find(topic)
            if queue is None:
                queue = self.queues[topic] = EmbeddedQueue(topic)
            queue.unused_since = time.monotonic()

    async def consumers(self, topic: str) -> int | None:
        queue = self.find(topic)
        return None if queue is None else len(queue.consumers)

    def control_address(self) -> None:
        return None

    def find(self, topic: str) -> "EmbeddedQueue | None":
        """The queue of a topic, unless its last consumer left too long ago."""
        queue = self.queues.get(topic)
        if queue is not None and not queue.consumers and time.monotonic() - queue.unused_since > _EXPIRES:
            del self.queues[topic]
            return None
        return queue

    @contextmanager
    def tapped(self, sink: Callable[[Message], None]) -> Iterator[None]:
        """Give a copy of each call that finds its queue, and of each reply, to `sink`."""
        self.sinks.append(sink)
        try:
            yield
        finally:
            self.sinks.remove(sink)

    # -- what an operator does to a broker; tests do it too

    def set_alarm(self, reason: str | None) -> None:
        """Take no messages, as under a memory alarm; None ends it."""
        self.alarm = reason
        for link in list(self.links.values()):
            link.alarm_changed()

    def stop(self) -> None:
        """Drop every link and all messages, as a restart does with transient ones; the queues are durable."""
        self.down = True
        for link in list(self.links.values()):
            link.abort()
        for queue in self.queues.values():
            queue.ready.clear()

    def start(self) -> None:
        self.down = False

    def delete_queue(self, name: str) -> None:
        """Delete a queue of calls or replies with all that waits in it; who consumes it is told."""
        owner = self.links.pop(name, None)
        if owner is not None:
            owner.cancelled(name)
        queue = self.queues.pop(name, None)
        for subscription in [*queue.consumers] if queue is not None else []:
            subscription.link.cancelled(name)


class EmbeddedQueue:
    """Messages that wait, and who takes them in turn."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[_Stored] = deque()
        self.consumers: deque[_Subscription] = deque()
        self.unused_since = time.monotonic()

    def expire(self) -> None:
        """Drop what is too old, as far as it stands at the head; what stands behind a younger one stays."""
        while self.ready and self.ready[0].expires < time.monotonic():
            self.ready.popleft()

    def dispatch(self) -> None:
        """Hand out what can be handed out, to each consumer in turn."""
        while True:
            self.expire()
            if not self.ready:
                return
            for _ in range(len(self.consumers)):
                subscription = self.consumers[0]
                self.consumers.rotate(-1)
                if len(subscription.unacked) < subscription.prefetch:
                    subscription.take(self.ready.popleft())
                    break
            else:
                return

    def put_back(self, stored: "_Stored") -> None:
        stored.redelivered = True
        self.ready.appendleft(stored)


class _Stored:
    __slots__ = ("expires", "message", "redelivered")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.expires = time.monotonic() + int(message.expiration) / 1000
        self.redelivered = False


class _Subscription:
    def __init__(self, link: "EmbeddedLink", queue: EmbeddedQueue, prefetch: int) -> None:
        self.link = link
        self.queue = queue
        self.prefetch = prefetch
        self.unacked: dict[int, _Stored] = {}

    def take(self, stored: _Stored) -> None:
        tag = self.link.next_tag(self)
        self.unacked[tag] = stored
        self.link.later(self.link.deliver, tag, stored)


class EmbeddedLink:
    """A Link in memory. All that it reports comes in a later turn of the event loop, as from a socket."""

    def __init__(self, broker: EmbeddedBroker, events: LinkEvents, reply_queue: str) -> None:
        self.reply_queue = reply_queue
        self.congested = False
        self._broker = broker
        self._events = events
        self._subscriptions: dict[str, _Subscription] = {}
        self._by_tag: dict[int, _Subscription] = {}
        self._last_tag = 0
        self._held: list[tuple[str, Message]] = []
        self._open = True
        self._loop = asyncio.get_running_loop()

    def later(self, what: object, *args: object) -> None:
        self._loop.call_soon(self._report, what, args)

    def _report(self, what: object, args: tuple[object, ...]) -> None:
        if self._open:
            what(*args)  # type: ignore[operator]

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
        message = self._message(TYPE_CALL, body)
        message.exchange, message.routing_key = CALLS_EXCHANGE.encode(), topic
        message.correlation_id = correlation_id
        message.reply_to = self.reply_queue.encode()
        message.expiration = b"%d" % expiration_ms
        message.headers |= {
            "call": context.call_id.decode(),
            "deadline": deadline_ms,
            "hops": context.hops,
            "traceparent": context.traceparent.decode(),
        }
        if context.caller:
            message.headers["caller"] = context.caller.decode()
            if context.jws:
                message.headers["jws"] = context.jws.decode()
                if context.via:
                    message.headers["via"] = context.via.decode()
        self._publish(topic.decode(), message)

    def ping(self) -> None:
        message = self._message(TYPE_PING, b"")
        message.exchange, message.routing_key = REPLIES_EXCHANGE.encode(), self.reply_queue.encode()
        self._publish(self.reply_queue, message)

    def _message(self, kind: bytes, body: bytes) -> Message:
        message = Message()
        message.type = kind
        message.content_type = CONTENT_TYPE
        message.headers = {"wire": VERSION}
        message.body = body
        return message

    def _publish(self, key: str, message: Message) -> None:
        if self._broker.alarm is not None:
            # As with sockets: what is written while the broker does not read arrives when it reads again.
            self._held.append((key, message))
            self.alarm_changed()
        else:
            self._route(key, message)

    def _route(self, key: str, message: Message) -> None:
        if message.exchange == REPLIES_EXCHANGE.encode():
            owner = self._broker.links.get(key)
            if message.type != TYPE_PING:
                self._copy(message)
            if owner is not None:
                owner.later(owner._events.on_reply, message)  # noqa: SLF001 - another link of this class
            elif message.type != TYPE_PING:
                self.later(self._events.on_undeliverable)
            return
        queue = self._broker.find(key)
        if queue is None:
            self.later(self._events.on_returned, message.correlation_id)
            return
        queue.expire()
        if len(queue.ready) >= self._broker.limits.get(key, 1 << 30):
            self.later(self._events.on_refused, message.correlation_id)
        else:
            self._copy(message)
            queue.ready.append(_Stored(message))
            queue.dispatch()

    def _copy(self, message: Message) -> None:
        for sink in self._broker.sinks:
            self._loop.call_soon(sink, message)

    def alarm_changed(self) -> None:
        """Tell the bus of an alarm, and send what was held when it is over."""
        alarm = self._broker.alarm
        self.later(self._events.on_blocked, alarm)
        if alarm is None:
            held, self._held = self._held, []
            for key, message in held:
                self._route(key, message)

    # -- calls in

    def next_tag(self, subscription: _Subscription) -> int:
        self._last_tag += 1
        self._by_tag[self._last_tag] = subscription
        return self._last_tag

    def deliver(self, tag: int, stored: _Stored) -> None:
        source = stored.message
        message = Message(tag, redelivered=stored.redelivered, exchange=source.exchange, routing_key=source.routing_key)
        for name in Message.__slots__:
            if name not in ("tag", "redelivered", "exchange", "routing_key"):
                setattr(message, name, getattr(source, name))
        message.headers = dict(source.headers)
        self._events.on_call(self, message)

    async def consume(self, queue: str, prefetch: int) -> None:
        found = self._broker.find(queue)
        if found is None:
            raise BusError(f"memory://: no queue {queue}")
        subscription = self._subscriptions[queue] = _Subscription(self, found, prefetch)
        found.consumers.append(subscription)
        found.dispatch()

    def cancelled(self, queue: str) -> None:
        """The queue is gone; what was delivered from it stays ours to settle."""
        self._subscriptions.pop(queue, None)
        self.later(self._events.on_cancelled, queue)

    async def cancel(self, queue: str) -> None:
        subscription = self._subscriptions.pop(queue, None)
        if subscription is not None:
            subscription.queue.consumers.remove(subscription)
            subscription.queue.unused_since = time.monotonic()

    def publish_reply(
        self, call: Message, kind: bytes, body: bytes, *, service: str, received_ms: int, ran_ms: int
    ) -> None:
        message = self._message(kind, body)
        message.exchange, message.routing_key = REPLIES_EXCHANGE.encode(), call.reply_to
        message.correlation_id = call.correlation_id
        message.headers |= {"service": service, "received": received_ms, "ran": ran_ms}
        self._publish(call.reply_to.decode(), message)

    def ack(self, tag: int) -> None:
        subscription = self._by_tag.pop(tag, None)
        if subscription is not None and self._open:
            del subscription.unacked[tag]
            subscription.queue.dispatch()

    def tap_replies(self, topics: frozenset[bytes]) -> None:
        pass  # who taps this broker sees all of it

    def tell_taps(self, topic: bytes, call_id: bytes, problem: bytes) -> None:  # noqa: ARG002 - who taps sees all topics
        message = self._message(TYPE_REFUSED, problem)
        message.correlation_id = call_id
        self._copy(message)

    def flush(self) -> None:
        pass  # nothing is held back

    # -- the end

    def abort(self, why: str = "dropped by this process") -> None:
        if self._open:
            self._end()
            self._events.on_lost(BusError(f"memory://: {why}"))

    async def close(self) -> None:
        self._end()

    def _end(self) -> None:
        if not self._open:
            return
        self._open = False
        self._broker.links.pop(self.reply_queue, None)
        touched = []
        for subscription in self._subscriptions.values():
            subscription.queue.consumers.remove(subscription)
            subscription.queue.unused_since = time.monotonic()
        for tag in sorted(self._by_tag, reverse=True):
            subscription = self._by_tag[tag]
            subscription.queue.put_back(subscription.unacked.pop(tag))
            touched.append(subscription.queue)
        for queue in dict.fromkeys(touched):
            queue.dispatch()
