"""Calls to here: what is checked before a handler starts, what is answered without one, and when to ack.

Order for every call: check, run, reply, ack. A worker that dies in between leaves the message to another, marked
as redelivered. A handler outlives its connection: its reply goes out on the next generation, and the copy that
the broker delivers again is recognised by its call id.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog

from busgate.contracts import Caller, CallFailed, FailureKind
from busgate.contracts.failure import HANDLER_CRASHED, REDELIVERED, TOO_LATE

from .call_fault import fault_of
from .clocks import Clocks
from .counters import Counters
from .link import BusError, Link
from .repeats import Repeats
from .wire import (
    MAX_MESSAGE,
    TYPE_PROBLEM,
    CallContext,
    Message,
    caller_of,
)

log = structlog.stdlib.get_logger("busgate.bus")

Answer = tuple[bytes, bytes]
"""The type of a reply (`reply` or `problem`) and its body."""

Finished = tuple[Answer, int, int]
"""What a redelivered copy of a call is answered with: the answer, when it was received and how long it ran."""

NAMED = 20
"""Calls that are cut, by their traces, in one line of the log."""
RECENT = 2048
RECENT_BYTES = 8 * 1024 * 1024


class Delivery:
    """A call that was delivered and passed every check of the wire: it may start now."""

    __slots__ = (
        "answer",
        "caller",
        "context",
        "copies",
        "deadline",
        "key",
        "link",
        "message",
        "ran_ms",
        "received_ms",
        "service",
        "started",
        "task",
    )

    def __init__(
        self, link: Link, message: Message, context: CallContext, *, deadline: float, now: float, service: str
    ) -> None:
        self.link = link
        self.message = message
        self.context = context
        self.deadline = deadline
        """Epoch seconds by our clock, after which nobody may start; the budgets of nested calls end here."""
        self.received_ms = int(now * 1000)
        self.started = time.monotonic()
        self.service = service
        self.key = message.routing_key + context.call_id
        """What duplicates are recognised by. With the topic: a client may use one id for all it does."""
        self.task: asyncio.Task[None] | None = None
        self.answer: Answer = (b"", b"")
        self.ran_ms = 0
        self.copies: list[Delivery] = []
        """Deliveries of the same call that came while this one ran."""
        self.caller: Caller | None = None
        """Who calls, as the check of its consumer found; None: it checks nothing, or nobody calls."""

    def remaining(self) -> float:
        """Seconds left of the budget; negative when it is over."""
        return self.deadline - time.time()


Handle = Callable[[Delivery], Awaitable[Answer]]

Check = Callable[[Delivery], FailureKind | None]
"""Says why a call is refused, if it is."""


class Consumers:
    """All topics that a process serves, over the generations of its links."""

    def __init__(self, counters: Counters, clocks: Clocks) -> None:
        self._counters = counters
        self._clocks = clocks
        self._topics: dict[bytes, Consumer] = {}
        self._link: Link | None = None
        self._running: dict[bytes, Delivery] = {}
        self._recent: dict[bytes, Finished] = {}
        self._older: dict[bytes, Finished] = {}
        self._recent_bytes = 0
        self._unsent: list[Delivery] = []
        self._attached = asyncio.Event()
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._dropped = Repeats()
        self._loop = asyncio.get_running_loop()

    def add(self, consumer: "Consumer") -> None:
        self._topics[consumer.topic.encode()] = consumer

    @property
    def topics(self) -> list[str]:
        return [consumer.topic for consumer in self._topics.values()]

    @property
    def running(self) -> int:
        """How many handlers run."""
        return len(self._running)

    @property
    def draining(self) -> bool:
        """Whether no more calls are taken."""
        return self._draining

    # -- what the bus tells

    async def attach(self, link: Link) -> None:
        """Consume on this link, and send the replies that found none before."""
        self._link = link
        unsent, self._unsent = self._unsent, []
        in_time = [delivery for delivery in unsent if delivery.remaining() > 0]
        for delivery in in_time:
            self._reply(link, delivery)
        self._lose(len(unsent) - len(in_time))
        self._attached.set()
        for consumer in self._topics.values():
            if not self._draining:  # looked at each time: a drain may begin between two of them
                await link.consume(consumer.topic, consumer.prefetch)

    async def restore(self, link: Link, topic: str) -> None:
        """Consume a queue again that was deleted under us."""
        consumer = self._topics.get(topic.encode())
        if consumer is not None and link is self._link and not self._draining:
            await link.consume(topic, consumer.prefetch)

    def detach(self) -> None:
        """The link is gone; what runs goes on."""
        self._link = None
        self._attached.clear()

    async def drain(self, grace: float) -> bool:
        """Stop consuming, wait for what runs, and for a link where answers still need one.

        False: a handler did not end in time and was cut, or answers were lost.

        What the broker sent before it knew is run too: handed back, it would count as redelivered, and be refused
        elsewhere where a contract may not run twice.
        """
        self._draining = True
        try:
            async with asyncio.timeout(grace):
                await self._stop_consuming()
                await self._idle.wait()
                await self._all_sent()
        except TimeoutError:
            pass  # the rest says what is left
        cut, lost = len(self._running), len(self._unsent)
        if cut:
            traces = [each.context.trace_id for each in self._running.values()][:NAMED]
            log.error("handlers are cut: they did not end within the grace", count=cut, grace=grace, traces=traces)
            self.cut()
        self._unsent.clear()
        self._lose(lost)
        return not cut and not lost

    def cut(self) -> None:
        """Cancel what still runs."""
        for delivery in list(self._running.values()):
            if delivery.task is not None:
                delivery.task.cancel()

    async def _all_sent(self) -> None:
        """Wait until the next link took the answers that found none, or nobody waits for them any more."""
        while (waited_for := max((each.remaining() for each in self._unsent), default=0.0)) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(waited_for):
                    await self._attached.wait()

    def _lose(self, count: int) -> None:
        if count:
            self._counters.lost_answers += count
            log.error("answers are lost: there was no connection while somebody waited for them", count=count)

    async def _stop_consuming(self) -> None:
        link = self._link
        if link is None:
            return
        try:
            for topic in self.topics:
                await link.cancel(topic)
        except BusError as error:
            log.debug("the link fell during a drain", error=str(error))  # and with it all that was consumed

    # -- a call

    def on_call(self, link: Link, message: Message) -> None:
        """A delivery: start its handler, or settle it here."""
        self._counters.received += 1
        consumer = self._topics.get(message.routing_key)
        fault = fault_of(message) if consumer is not None else "no contract of ours has this routing key"
        if fault is not None or consumer is None:
            self._drop(link, message, fault or "")
            return
        headers: dict[str, Any] = message.headers  # of the right types: fault_of looked
        now = time.time()
        call_id = headers["call"].encode()
        context = CallContext(
            call_id, headers["traceparent"].encode(), headers.get("caller", "").encode(), headers["hops"]
        )
        if "jws" in headers:
            context.jws, context.via = headers["jws"].encode(), headers.get("via", "").encode()
        deadline: float = headers["deadline"] / 1000
        if self._clocks.ahead:  # rare: a clock is wrong, and the deadline is by that of who calls
            deadline += self._clocks.ahead.get(caller_of(message.reply_to), 0.0)
        delivery = Delivery(link, message, context, deadline=deadline, now=now, service=consumer.service)
        if consumer.check is not None:  # before duplicates: what one caller was answered is not for another
            if self._refused(consumer.check, delivery):
                return
            delivery.key += context.caller
        key = delivery.key
        may_be_known = message.redelivered or key in self._running or key in self._recent or key in self._older
        if may_be_known and self._settled_again(consumer, delivery):
            return
        self._running[key] = delivery
        self._idle.clear()
        self._start(consumer, delivery)

    def _start(self, consumer: "Consumer", delivery: Delivery) -> None:
        if sys.version_info >= (3, 12):
            task = asyncio.Task(self._run(consumer, delivery), loop=self._loop, eager_start=True)
        else:
            task = self._loop.create_task(self._run(consumer, delivery))
        delivery.task = task

    async def _run(self, consumer: "Consumer", delivery: Delivery) -> None:
        try:
            if time.time() > delivery.deadline:  # looked at here: a handler that holds the loop holds up this start
                answer = self._too_late(delivery)
            else:
                answer = await consumer.handle(delivery)
        except asyncio.CancelledError:
            self._done(delivery)  # cut by the end of a drain: not acked, so another worker decides by the contract
            raise
        except Exception:
            log.exception("a handler failed outside its own guard", topic=consumer.topic)
            answer = problem(CallFailed(HANDLER_CRASHED, service=consumer.service))
        self._finish(delivery, answer)

    def _finish(self, delivery: Delivery, answer: Answer) -> None:
        if len(answer[1]) > MAX_MESSAGE:  # the broker would close the channel, at each redelivery again
            log.error("a reply is larger than the bus carries", queue=delivery.message.routing_key.decode())
            answer = problem(CallFailed(HANDLER_CRASHED, "the reply is too large", service=delivery.service))
        delivery.answer = answer
        delivery.ran_ms = int((time.monotonic() - delivery.started) * 1000)
        self._remember(delivery)
        self._done(delivery)
        link = self._link
        if link is None:
            self._unsent.append(delivery)
            return
        self._reply(link, delivery)
        if delivery.link is link:
            link.ack(delivery.message.tag)
        for copy in delivery.copies:
            if copy.link is link:
                if copy.message.correlation_id != delivery.message.correlation_id:  # another attempt, which waits too
                    self._repeat(copy, (delivery.answer, delivery.received_ms, delivery.ran_ms))
                link.ack(copy.message.tag)
        if not self._running:
            link.flush()

    def _repeat(self, copy: Delivery, known: Finished) -> None:
        """Answer a copy with what is known."""
        copy.answer, copy.received_ms, copy.ran_ms = known
        self._reply(copy.link, copy)

    def _reply(self, link: Link, delivery: Delivery) -> None:
        self._counters.answered += 1
        kind, body = delivery.answer
        link.publish_reply(
            delivery.message,
            kind,
            body,
            service=delivery.service,
            received_ms=delivery.received_ms,
            ran_ms=delivery.ran_ms,
        )

    def _done(self, delivery: Delivery) -> None:
        del self._running[delivery.key]
        if not self._running:
            self._idle.set()

    # -- calls that are not run

    def _too_late(self, delivery: Delivery) -> Answer:
        """Delivered before, it may have run elsewhere: then `too-late`, which means not executed, would be a lie."""
        self._counters.refused_late += 1
        kind = REDELIVERED if delivery.message.redelivered else TOO_LATE
        return problem(CallFailed(kind, service=delivery.service))

    def _drop(self, link: Link, message: Message, why: str) -> None:
        """Settle a message that is not a call of ours: counted, said ever more rarely, never run, never answered."""
        self._counters.foreign += 1
        if times := self._dropped.count(why):
            queue = message.routing_key.decode("ascii", "replace")
            log.warning("dropped a message that is not a call", why=why, queue=queue, times=times)
        link.ack(message.tag)

    def _refused(self, check: Check, delivery: Delivery) -> bool:
        """Answer a call that its consumer's check refuses; redelivered, it may have run elsewhere."""
        kind = check(delivery)
        if kind is not None:
            self._refuse(delivery, REDELIVERED if delivery.message.redelivered else kind)
        return kind is not None

    def _settled_again(self, consumer: "Consumer", delivery: Delivery) -> bool:
        """Deal with a call that came before, as the same message or another attempt; False: run it."""
        message = delivery.message
        self._counters.redelivered += message.redelivered
        running = self._running.get(delivery.key)
        if running is not None:
            self._counters.duplicates += 1
            running.copies.append(delivery)
            return True
        known = self._recent.get(delivery.key) or self._older.get(delivery.key)
        if known is not None:
            self._counters.duplicates += 1
            self._repeat(delivery, known)
            delivery.link.ack(message.tag)
            return True
        if consumer.reruns or delivery.remaining() < 0:
            return False
        self._counters.refused_redelivered += 1
        self._refuse(delivery, REDELIVERED)
        return True

    def _refuse(self, delivery: Delivery, kind: FailureKind) -> None:
        delivery.answer = problem(CallFailed(kind, service=delivery.service))
        self._reply(delivery.link, delivery)
        delivery.link.ack(delivery.message.tag)

    def _remember(self, delivery: Delivery) -> None:
        """Keep the answer while the broker may deliver the call again: its ack is on the way, or was lost."""
        if len(self._recent) >= RECENT or self._recent_bytes > RECENT_BYTES:
            self._older, self._recent, self._recent_bytes = self._recent, {}, 0
        self._recent[delivery.key] = (delivery.answer, delivery.received_ms, delivery.ran_ms)
        self._recent_bytes += len(delivery.answer[1])


class Consumer:
    """One topic that this process serves."""

    __slots__ = ("check", "handle", "prefetch", "reruns", "service", "topic")

    def __init__(
        self, topic: str, handle: Handle, *, prefetch: int, reruns: bool, service: str, check: Check | None = None
    ) -> None:
        self.topic = topic
        self.handle = handle
        self.check = check
        self.prefetch = prefetch
        self.reruns = reruns
        self.service = service


def problem(failure: CallFailed) -> Answer:
    """A failure as the answer of a worker."""
    return TYPE_PROBLEM, json.dumps(failure.document(), separators=(",", ":")).encode()
