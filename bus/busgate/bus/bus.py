"""The bus of one process: it keeps a link to the broker and lets calls out and in over it.

Each connection is a generation. When one falls, everything that waits on it is answered at once, handlers go on,
and the next is opened with full jitter. Nothing an old generation says is believed: its events lead nowhere.
"""

import asyncio
import random
import re
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from busgate.contracts.failure import NO_WORKERS, TOPIC_FORBIDDEN

from .clocks import Clocks
from .consumer import Check, Consumer, Consumers, Handle
from .counters import Counters
from .lifecycle import Lifecycle
from .link import Broker, BusError, Link, LinkEvents
from .repeats import Outage
from .requester import Endpoint, Requester
from .wire import CALLS_EXCHANGE, REPLY_QUEUE_PREFIX, is_reply_queue

log = structlog.stdlib.get_logger("busgate.bus")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.5
"""Seconds between two tries to connect: a random part of a pause that doubles (full jitter)."""
PING_EVERY = 1.0
SILENCE = 3
"""Pings without an answer, and without anything else delivered, after which a link counts as dead."""
PROBE_EVERY = 0.5
"""Seconds between two looks at a topic that had no worker."""
CANCEL_AGAIN = 0.1
"""Seconds until what was cancelled and still runs is cancelled again."""
FORBIDDEN_FOR = 30.0
"""Seconds for which a topic is not called that the broker forbids; then one call finds out whether it still does."""
MAX_WAITING = 10_000

_FORBIDDEN = re.compile(  # versions of RabbitMQ put it differently
    rf"ACCESS_REFUSED - (?:\w+ )?access to topic '([^']+)' in (?:exchange )+'{re.escape(CALLS_EXCHANGE)}'"
)


class Bus(Lifecycle):
    """Calls out of this process (`endpoint`) and into it (`serve`), over one broker.

    Use it as a context manager, or call `start` and `close`. `serve` comes before `start`.
    """

    def __init__(self, broker: Broker, *, name: str, max_waiting: int = MAX_WAITING) -> None:
        if not is_reply_queue(f"{REPLY_QUEUE_PREFIX}{name}".encode()) or len(name) > 100:
            raise ValueError(f"{name!r} cannot name a bus: no worker would answer to its reply queue")
        self.name = name
        self.counters = Counters()
        self.requester = Requester(max_waiting=max_waiting, counters=self.counters)
        self.clocks = Clocks()
        self.consumers = Consumers(self.counters, self.clocks)
        self.broker = broker
        self.on_generation: Callable[[], None] = lambda: None
        """Called when a generation is ready; its reply queue is a new one."""
        self._link: Link | None = None
        self._lost = asyncio.Event()
        self.up = asyncio.Event()
        """Set while there is a connection for calls."""
        self._pong = asyncio.Event()
        self._blocked: str | None = None
        self._error = BusError("not connected yet")
        self._outage = Outage(log)
        self._keeper: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._probing: set[str] = set()
        self._closed = False
        self._tapped: frozenset[bytes] = frozenset()
        self.requester.on_pong = self._pong.set
        self.requester.on_silent_topic = self._probe_soon

    # -- for those who call and those who serve

    def endpoint(self, topic: str, *, timeout: float = 5.0) -> Endpoint:
        """The calls of one topic. `timeout` is their usual budget in seconds, by which admission is measured."""
        return self.requester.endpoint(topic, timeout=timeout)

    def serve(
        self, topic: str, handle: Handle, *, prefetch: int, reruns: bool, service: str, check: Check | None = None
    ) -> None:
        """Consume a topic. `handle` runs in a task of its own for each call; what it returns is sent, then acked.

        `check` sees each call before anything else does, and may refuse it.
        """
        self.consumers.add(Consumer(topic, handle, prefetch=prefetch, reruns=reruns, service=service, check=check))

    @property
    def unready(self) -> str | None:
        """Why calls cannot be sent right now; None when they can."""
        if not self.up.is_set():
            return f"no connection to the broker: {self._error}"
        if self._blocked is not None:
            return f"the broker is blocked: {self._blocked}"
        return None

    @property
    def generation(self) -> int:
        return self.counters.generations

    @property
    def reply_queue(self) -> str | None:
        """Where replies to this process go now; None while it is not connected."""
        return None if self._link is None else self._link.reply_queue

    def tap_replies(self, topics: frozenset[bytes]) -> None:
        """Have the replies of these topics, and no others, come under the second key of the reply queue."""
        self._tapped = topics
        if self._link is not None:
            self._link.tap_replies(topics)

    # -- lifecycle

    async def start(self, wait: float = 3.0) -> None:
        """Connect, and stay connected until `close`.

        Raises:
            BusError: there was no broker within `wait` seconds, or what it said will not change by waiting.
        """
        self._keeper = asyncio.create_task(self._keep_connected(), name=f"{self.name} bus")
        up = asyncio.create_task(self.up.wait())
        try:
            await asyncio.wait({up, self._keeper}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
        if not self.up.is_set():
            await self.close()
            raise self._error

    async def drain(self, grace: float) -> bool:
        """Stop consuming and wait for what runs. False: something was cut."""
        return await self.consumers.drain(grace)

    async def close(self) -> None:
        """Say goodbye to the broker, in bounded time. What still waits is answered as lost, what still runs is cut."""
        self._closed = True
        self.consumers.cut()
        await _end({task for task in (self._keeper, *self._tasks) if task is not None})
        link, self._link = self._link, None
        if link is not None:
            self._let_go()
            await link.close()

    # -- generations

    async def _keep_connected(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                link = await self._open_generation()
            except Exception as error:
                if not isinstance(error, BusError):  # a bug must cost this try, not the bus
                    log.exception("a connection could not be opened")
                    error = BusError(f"a connection could not be opened: {type(error).__name__}")
                self._error = error
                if error.permanent and self.counters.generations == 0:
                    return
                if self.generation:  # who starts the bus hears the last error as an exception
                    self._outage.goes_on("no connection to the broker", error=str(error))
            else:
                pause = FIRST_PAUSE
                await self._watch(link)
                self._outage.begins(
                    "lost the broker",
                    broker=self.broker.address,
                    error=str(self._error),
                    generation=self.generation,
                )
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter, not a secret
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _open_generation(self) -> Link:
        await self.broker.prepare(self.consumers.topics)
        self._lost.clear()
        self._blocked = None
        number = self.counters.generations + 1
        link = await self.broker.connect(self._events(), name=self.name, generation=number)
        self._link = link
        link.tap_replies(self._tapped)
        try:
            await self._first_ping(link)
            self.requester.attach(link)  # first: the handlers that start now make calls themselves
            self.requester.block(self._blocked)
            await self.consumers.attach(link)
            if self._lost.is_set():
                raise self._error
        except BaseException:
            self._let_go()
            await link.close()
            raise
        self.counters.generations = number
        self.up.set()
        self.on_generation()
        known: dict[str, Any] = {"broker": self.broker.address, "generation": number}
        if not self._outage.ends("the broker is back", **known):
            log.info("connected", **known)
        return link

    def _events(self) -> LinkEvents:
        """The events of one generation; `_let_go` forgets them all when it ends."""
        events = LinkEvents()
        events.on_reply = self.requester.on_reply
        events.on_call = self.consumers.on_call
        events.on_returned = self.requester.on_returned
        events.on_refused = self.requester.on_refused
        events.on_undeliverable = self._count_unanswerable
        events.on_blocked = self._on_blocked
        events.on_cancelled = self._on_cancelled
        events.on_lost = self._on_lost
        return events

    def _let_go(self) -> None:
        self._link = None
        self.up.clear()
        self.requester.detach()
        self.consumers.detach()

    async def _first_ping(self, link: Link) -> None:
        """A generation counts once our own message came back: under an alarm the ping is swallowed, not a call."""
        self._pong.clear()
        link.ping()
        while not self._pong.is_set():
            try:
                async with asyncio.timeout(SILENCE * PING_EVERY):
                    await self._pong.wait()
            except TimeoutError:
                if self._blocked is None:
                    raise BusError("the broker took our connection but delivers nothing") from None
                self._error = BusError(f"the broker is blocked: {self._blocked}")
        if self._lost.is_set():
            raise self._error

    async def _watch(self, link: Link) -> None:
        """Ping until the link falls; drop it when neither a ping nor anything else came back for three of them."""
        silent = 0
        seen = -1
        while not self._lost.is_set():
            try:
                async with asyncio.timeout(PING_EVERY):
                    await self._lost.wait()
                    return
            except TimeoutError:
                pass  # it holds: look whether it is alive
            arrived = self.counters.replies + self.counters.late_replies + self.counters.received
            silent = 0 if self._pong.is_set() or arrived != seen or self._blocked is not None else silent + 1
            seen = arrived
            if silent >= SILENCE:
                link.abort(f"half-dead: nothing came back for {SILENCE * PING_EVERY:g} s")
                return
            if self._pong.is_set():
                self._pong.clear()
                link.ping()

    # -- what a link reports

    def _on_lost(self, error: Exception | None) -> None:
        if isinstance(error, BusError):
            self._error = error
            self._close_forbidden(error)
        self._let_go()
        self._lost.set()
        self._pong.set()  # who waits for it looks at once

    def _on_blocked(self, reason: str | None) -> None:
        log.warning("the broker is blocked" if reason else "the broker is no longer blocked", reason=reason)
        self._blocked = reason
        self.requester.block(reason)

    def _on_cancelled(self, queue: str) -> None:
        link = self._link
        if link is None:
            return
        log.warning("a queue of ours was deleted", queue=queue)
        if queue == link.reply_queue:
            link.abort("its reply queue was deleted")
        else:
            self._spawn(self._restore(link, queue))

    async def _restore(self, link: Link, topic: str) -> None:
        try:
            await self.broker.prepare([topic])
            await self.consumers.restore(link, topic)
        except BusError as error:
            link.abort(f"a queue that was deleted cannot be restored: {error}")

    def _count_unanswerable(self) -> None:
        self.counters.unanswerable += 1

    # -- topics that may not be called

    def _close_forbidden(self, error: BusError) -> None:
        """A publish that permissions forbid costs the link, and all calls on it: no second one for a while."""
        forbidden = _FORBIDDEN.search(str(error))
        if forbidden is not None:
            log.error("no permission to call a topic; its calls are refused", topic=forbidden[1], seconds=FORBIDDEN_FOR)
            self._spawn(self._closed_for_a_while(self.requester.endpoint(forbidden[1], timeout=5.0)))

    async def _closed_for_a_while(self, endpoint: Endpoint) -> None:
        endpoint.closed = TOPIC_FORBIDDEN
        await asyncio.sleep(FORBIDDEN_FOR)
        endpoint.closed = None

    # -- topics without workers

    def _probe_soon(self, endpoint: Endpoint) -> None:
        if endpoint.topic not in self._probing and not self._closed:
            self._probing.add(endpoint.topic)
            self._spawn(self._probe(endpoint))

    async def _probe(self, endpoint: Endpoint) -> None:
        """Look whether a silent topic has workers; while it has a queue but none, its calls are refused at once."""
        try:
            while await self.broker.consumers(endpoint.topic) == 0:
                endpoint.closed = NO_WORKERS
                await asyncio.sleep(PROBE_EVERY)
            endpoint.closed = None
            await asyncio.sleep(PROBE_EVERY)  # under overload many calls time out; each look costs a connection
        except BusError as error:
            log.warning("cannot look at a queue", queue=endpoint.topic, error=str(error))
        finally:
            endpoint.closed = None
            self._probing.discard(endpoint.topic)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel tasks until they are done.

    Once is not enough: asyncio.wait_for, which aio-pika waits by, drops a cancellation on Python 3.11 when what it
    waits for is done in the same moment.
    """
    running = tasks
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN)
    await asyncio.gather(*tasks, return_exceptions=True)
