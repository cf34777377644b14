"""Calls from here: who waits for which reply, until when, and what is answered when none comes.

Every call ends exactly once: by its reply, by a return or refusal of the broker, by the loss of its link, or by
its deadline. One sweep over buckets of 20 ms watches all deadlines, so that a call costs no timer.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import structlog

from busgate.contracts import CallFailed, FailureKind
from busgate.contracts.failure import (
    BAD_REPLY,
    BUS_BLOCKED,
    BUS_UNAVAILABLE,
    CALL_TOO_LARGE,
    CONNECTION_LOST,
    DRAINING,
    NO_ROUTE,
    NO_WORKERS,
    OVERLOADED,
    QUEUE_FULL,
    TIMEOUT,
    TOO_MANY_HOPS,
)

from .admission import Admission
from .counters import Counters
from .link import Link
from .reply_fault import reply_fault
from .wire import (
    MARGIN_MS,
    MAX_HOPS,
    MAX_MESSAGE,
    TYPE_PING,
    TYPE_REFUSED,
    CallContext,
    Ids,
    Message,
)

log = structlog.stdlib.get_logger("busgate.bus")

TICK = 0.02
"""Seconds between two sweeps; a call is answered at most this late."""

SKEW_MS = 500
"""Milliseconds that the clocks of edge and worker may differ before it is counted."""

SKEW_TOLD_EVERY = 10_000
"""Replies by a wrong clock, of which one is told in the log; the counter has all."""

RETRY_SOON = 1.0
"""Seconds after which a refused call may be tried again."""


class Reply:
    """A reply that passed every check of the wire; what it says is for the contract to judge.

    Attributes:
        type: `reply` or `problem`.
        body: JSON, not parsed yet.
        service: who answered.
        ran_ms: how long its handler ran.
        queued_ms: how long the call took beyond that: in queues, on the way, and there and back.
    """

    __slots__ = ("body", "queued_ms", "ran_ms", "service", "type")

    def __init__(self, message: Message, service: str, ran_ms: int, queued_ms: float) -> None:
        self.type = message.type
        self.body = message.body
        self.service = service
        self.ran_ms = ran_ms
        self.queued_ms = queued_ms


class WaitingCall(asyncio.Future[Reply]):
    """A call that was sent. Awaiting it gives the reply; cancelling it frees its place."""

    __slots__ = ("bucket", "correlation_id", "endpoint", "sent")

    correlation_id: bytes
    endpoint: "Endpoint"
    sent: float
    bucket: set["WaitingCall"]

    def cancel(self, msg: object = None) -> bool:
        """Nobody waits any more: the place in the table is free at once, a reply will be dropped."""
        self.endpoint.abandoned(self)
        return super().cancel(msg)


class Requester:
    """All calls of one process, over the generations of its links."""

    def __init__(self, *, max_waiting: int, counters: Counters) -> None:
        self._loop = asyncio.get_running_loop()
        self._ids = Ids()
        self._max_waiting = max_waiting
        self._counters = counters
        self._endpoints: dict[str, Endpoint] = {}
        self._waiting: dict[bytes, WaitingCall] = {}
        self._buckets: dict[int, set[WaitingCall]] = {}
        self._last_tick = 0
        self._sweeping = False
        self._link: Link | None = None
        self._unusable: FailureKind | None = BUS_UNAVAILABLE
        self._draining = False
        self.on_pong: Callable[[], None] = lambda: None
        """Called when our own ping came back."""
        self.on_silent_topic: Callable[[Endpoint], None] = lambda _: None
        """Called when a call of a topic got no reply at all; the bus looks whether anyone serves it."""

    def endpoint(self, topic: str, *, timeout: float) -> "Endpoint":
        """The calls of one topic; the same object for the same topic. `timeout` is the usual budget, seconds."""
        endpoint = self._endpoints.get(topic)
        if endpoint is None:
            endpoint = self._endpoints[topic] = Endpoint(self, topic, timeout)
        return endpoint

    @property
    def endpoints(self) -> list["Endpoint"]:
        """Of all topics that are called from here."""
        return list(self._endpoints.values())

    def __contains__(self, topic: object) -> bool:
        """Whether a topic is called from here."""
        return topic in self._endpoints

    @property
    def waiting(self) -> int:
        """How many calls wait for their reply."""
        return len(self._waiting)

    # -- what the bus tells

    def attach(self, link: Link) -> None:
        """Send by this link from now on."""
        self._link = link
        self._refuse_for(None)

    def detach(self) -> None:
        """The link is gone: everything that waits is answered now, nothing of the old generation is believed."""
        self._link = None
        self._refuse_for(BUS_UNAVAILABLE)
        for waiting in list(self._waiting.values()):
            self._fail(waiting, CONNECTION_LOST)

    def block(self, reason: str | None) -> None:
        """The broker takes no messages; None: it does again."""
        if self._link is not None:
            self._refuse_for(None if reason is None else BUS_BLOCKED)

    def drain(self) -> None:
        """Refuse new calls; those that wait go on."""
        self._draining = True
        self._refuse_for(DRAINING)

    @property
    def draining(self) -> bool:
        return self._draining

    def _refuse_for(self, kind: FailureKind | None) -> None:
        self._unusable = DRAINING if self._draining else kind

    # -- a call

    def admit(self, endpoint: "Endpoint") -> Link:
        """The link to send a call of this topic by; raises CallFailed where it would be refused at once."""
        link = self._link
        if link is None or self._unusable is not None or link.congested or len(self._waiting) >= self._max_waiting:
            raise self._refusal(link)
        if endpoint.closed is not None:
            raise CallFailed(endpoint.closed, retry_after=RETRY_SOON)
        endpoint.admission.admit(self._loop.time())
        return link

    def send(self, endpoint: "Endpoint", body: bytes, context: CallContext, budget: float) -> WaitingCall:
        link = self.admit(endpoint)
        now = self._loop.time()
        if len(body) > MAX_MESSAGE or context.hops > MAX_HOPS:
            raise CallFailed(CALL_TOO_LARGE if len(body) > MAX_MESSAGE else TOO_MANY_HOPS)
        budget = max(budget, 0.0)
        waiting = WaitingCall(loop=self._loop)
        waiting.endpoint = endpoint
        waiting.sent = time.monotonic()
        waiting.correlation_id = correlation_id = self._ids.take(32)
        budget_ms = max(int(budget * 1000) - MARGIN_MS, 1)
        link.publish_call(
            endpoint.routing_key,
            correlation_id,
            int(time.time() * 1000) + budget_ms,
            budget_ms,
            context,
            body,
        )
        self._waiting[correlation_id] = waiting
        self._watch(waiting, now + budget)
        endpoint.admission.waiting += 1
        if len(self._waiting) == 1:
            link.flush()
        return waiting

    def _refusal(self, link: Link | None) -> CallFailed:
        if self._unusable is not None:
            return CallFailed(self._unusable, retry_after=RETRY_SOON)
        if link is not None and link.congested:
            return CallFailed(BUS_BLOCKED, "the broker reads too slowly", retry_after=RETRY_SOON)
        return CallFailed(OVERLOADED, retry_after=RETRY_SOON)

    def abandon(self, waiting: WaitingCall) -> None:
        if self._forget(waiting.correlation_id) is not None:
            self._counters.abandoned += 1

    def _forget(self, correlation_id: bytes) -> WaitingCall | None:
        waiting = self._waiting.pop(correlation_id, None)
        if waiting is not None:
            waiting.bucket.discard(waiting)
            waiting.endpoint.admission.waiting -= 1
        return waiting

    def _fail(self, waiting: WaitingCall, kind: FailureKind, *, retry_after: float | None = None) -> None:
        self._forget(waiting.correlation_id)
        if not waiting.done():
            waiting.set_exception(CallFailed(kind, retry_after=retry_after))

    # -- what ends a call

    def on_reply(self, message: Message) -> None:
        """A message on our reply queue: it ends the call that it answers, or is counted and dropped."""
        waiting = self._waiting.get(message.correlation_id)
        if waiting is None:
            self._on_unexpected(message)
            return
        fault = reply_fault(message)
        now = self._loop.time()
        took_ms = (time.monotonic() - waiting.sent) * 1000
        self._forget(message.correlation_id)
        self._counters.replies += 1
        waiting.endpoint.closed = None
        if fault is not None:
            self._counters.bad_replies += 1
            waiting.set_exception(CallFailed(BAD_REPLY, fault))
            return
        headers: dict[str, Any] = message.headers  # of the right types: reply_fault looked
        ran_ms = headers["ran"]
        queued_ms = took_ms - ran_ms
        self._look_at_clock(headers, took_ms)
        waiting.endpoint.admission.replied(now, queued_ms / 1000, ran_ms / 1000)
        waiting.set_result(Reply(message, headers["service"], ran_ms, queued_ms))

    def _look_at_clock(self, headers: dict[str, Any], took_ms: float) -> None:
        """A worker cannot have received a call before it was sent, or after its reply came: then a clock is wrong."""
        now_ms = time.time() * 1000
        if not now_ms - took_ms - SKEW_MS <= headers["received"] <= now_ms + SKEW_MS:
            self._counters.skewed += 1
            if self._counters.skewed % SKEW_TOLD_EVERY == 1:
                ahead = (headers["received"] - now_ms) / 1000
                log.warning("a clock is wrong", service=headers["service"], its_worker_is_ahead_by=round(ahead, 1))

    def _on_unexpected(self, message: Message) -> None:
        if message.type == TYPE_PING:
            self.on_pong()
        elif message.type != TYPE_REFUSED:  # that is our own word, for taps
            self._counters.late_replies += 1

    def on_returned(self, correlation_id: bytes) -> None:
        """The broker has no queue for this call."""
        waiting = self._waiting.get(correlation_id)
        if waiting is not None:
            self._counters.returned += 1
            self._fail(waiting, NO_ROUTE, retry_after=RETRY_SOON)

    def on_refused(self, correlation_id: bytes) -> None:
        """The queue took no more."""
        waiting = self._waiting.get(correlation_id)
        if waiting is not None:
            self._counters.refused += 1
            self._fail(waiting, QUEUE_FULL, retry_after=RETRY_SOON)

    def refuse_reply(self, endpoint: "Endpoint", call_id: bytes, failure: CallFailed) -> None:
        """Tell taps that the reply to a call is not taken."""
        if self._link is not None:
            self._link.tell_taps(endpoint.routing_key, call_id, json.dumps(failure.document()).encode())

    # -- deadlines

    def _watch(self, waiting: WaitingCall, deadline: float) -> None:
        tick = int(deadline / TICK) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = set()
        bucket.add(waiting)
        waiting.bucket = bucket
        if not self._sweeping:
            self._sweeping = True
            self._last_tick = int(self._loop.time() / TICK)
            self._loop.call_later(TICK, self._sweep)

    def _sweep(self) -> None:
        tick = int(self._loop.time() / TICK)
        for due in range(self._last_tick + 1, tick + 1):
            for waiting in list(self._buckets.pop(due, ())):
                self._timed_out(waiting)
        self._last_tick = tick
        if self._buckets:
            self._loop.call_later(TICK, self._sweep)
        else:
            self._sweeping = False

    def _timed_out(self, waiting: WaitingCall) -> None:
        self._counters.timeouts += 1
        self._fail(waiting, TIMEOUT)
        self.on_silent_topic(waiting.endpoint)


class Endpoint:
    """Calls of one topic. Get it once from the bus and keep it."""

    __slots__ = ("_requester", "admission", "closed", "routing_key", "topic")

    def __init__(self, requester: Requester, topic: str, timeout: float) -> None:
        self._requester = requester
        self.topic = topic
        self.routing_key = topic.encode()
        self.admission = Admission(timeout)
        self.closed: FailureKind | None = None
        """Why every call is refused at once: it is known to have no worker, or may not be called from here."""

    @property
    def unserved(self) -> bool:
        """Known to have no worker; until the probe finds one."""
        return self.closed is NO_WORKERS

    def call(self, body: bytes, context: CallContext, budget: float) -> WaitingCall:
        """Send a call and return its future reply, of type `reply` or `problem`.

        `budget` is in seconds; the future is done when it is over. Cancel it when nobody waits any more.

        Raises:
            CallFailed: at once where the call cannot be sent; from the future for all that happens later.
        """
        return self._requester.send(self, body, context, budget)

    def admit(self) -> None:
        """Find out, before there is a body, whether a call would be refused at once.

        Raises:
            CallFailed: as `call` would.
        """
        self._requester.admit(self)

    def refuse_reply(self, call_id: bytes, failure: CallFailed) -> None:
        """Say that a reply, which passed every check of the wire, does not match the contract: a tap shows that too."""
        self._requester.refuse_reply(self, call_id, failure)

    def abandoned(self, waiting: WaitingCall) -> None:
        self._requester.abandon(waiting)
