"""The bus of one process: it keeps a link to the broker and lets calls out and in over it.

Each connection is a generation. When one falls, everything that waits on it is answered at once, handlers go on,
and the next is opened with full jitter. Nothing an old generation says is believed: its events lead nowhere.
"""

import asyncio
import random
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

import structlog

from .consumer import Consumer, Consumers, Handle
from .counters import Counters
from .link import Broker, BusError, Link, LinkEvents
from .requester import Endpoint, Requester
from .wire import REPLY_QUEUE_PREFIX, is_reply_queue

log = structlog.stdlib.get_logger("busgate.bus")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.5
"""Seconds between two tries to connect: a random part of a pause that doubles (full jitter)."""
PING_EVERY = 1.0
SILENCE = 3
"""Pings without an answer, and without anything else delivered, after which a link counts as dead."""
PROBE_EVERY = 0.5
"""Seconds between two looks at a topic that had no worker."""
MAX_WAITING = 10_000


class Bus:
    """Calls out of this process (`endpoint`) and into it (`serve`), over one broker.

    Use it as a context manager, or call `start` and `close`. `serve` comes before `start`.
    """

    def __init__(self, broker: Broker, *, name: str, max_waiting: int = MAX_WAITING) -> None:
        if not is_reply_queue(f"{REPLY_QUEUE_PREFIX}{name}".encode()) or len(name) > 100:
            raise ValueError(f"{name!r} cannot name a bus: no worker would answer to its reply queue")
        self.name = name
        self.counters = Counters()
        self.requester = Requester(max_waiting=max_waiting, counters=self.counters)
        self.consumers = Consumers(self.counters)
        self._broker = broker
        self._link: Link | None = None
        self._lost = asyncio.Event()
        self._up = asyncio.Event()
        self._pong = asyncio.Event()
        self._blocked: str | None = None
        self._error = BusError("not connected yet")
        self._keeper: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._probing: set[str] = set()
        self._closed = False
        self.requester.on_pong = self._pong.set
        self.requester.on_silent_topic = self._probe_soon

    # -- for those who call and those who serve

    def endpoint(self, topic: str, *, timeout: float = 5.0) -> Endpoint:
        """The calls of one topic. `timeout` is their usual budget in seconds, by which admission is measured."""
        return self.requester.endpoint(topic, timeout=timeout)

    def serve(self, topic: str, handle: Handle, *, prefetch: int, reruns: bool, service: str) -> None:
        """Consume a topic. `handle` runs in a task of its own for each call; what it returns is sent, then acked."""
        self.consumers.add(Consumer(topic, handle, prefetch=prefetch, reruns=reruns, service=service))

    @property
    def unready(self) -> str | None:
        """Why calls cannot be sent right now; None when they can."""
        if not self._up.is_set():
            return f"no connection to the broker: {self._error}"
        if self._blocked is not None:
            return f"the broker is blocked: {self._blocked}"
        return None

    @property
    def generation(self) -> int:
        return self.counters.generations

    # -- lifecycle

    async def start(self, wait: float = 3.0) -> None:
        """Connect, and stay connected until `close`.

        Raises:
            BusError: there was no broker within `wait` seconds, or what it said will not change by waiting.
        """
        self._keeper = asyncio.create_task(self._keep_connected(), name=f"{self.name} bus")
        up = asyncio.create_task(self._up.wait())
        try:
            await asyncio.wait({up, self._keeper}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
        if not self._up.is_set():
            await self.close()
            raise self._error

    async def drain(self, grace: float) -> bool:
        """Stop consuming and wait for what runs. False: something was cut."""
        return await self.consumers.drain(grace)

    async def close(self) -> None:
        """Say goodbye to the broker, in bounded time. What still waits is answered as lost, what still runs is cut."""
        self._closed = True
        self.consumers.cut()
        tasks = [task for task in (self._keeper, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        link, self._link = self._link, None
        if link is not None:
            self._let_go()
            await link.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

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
                # who starts the bus hears the last error as an exception, and need not read it ten times before
                (log.warning if self.generation else log.debug)("no connection to the broker", error=str(error))
            else:
                pause = FIRST_PAUSE
                await self._watch(link)
                log.warning("lost the broker", error=str(self._error), generation=self.generation)
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter, not a secret
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _open_generation(self) -> Link:
        await self._broker.prepare(self.consumers.topics)
        self._lost.clear()
        self._blocked = None
        number = self.counters.generations + 1
        link = await self._broker.connect(self._events(), name=self.name, generation=number)
        self._link = link
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
        self._up.set()
        log.info("connected", broker=self._broker.address, generation=number)
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
        self._up.clear()
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
                log.warning("the link is half-dead: no ping came back", seconds=SILENCE * PING_EVERY)
                link.abort()
                return
            if self._pong.is_set():
                self._pong.clear()
                link.ping()

    # -- what a link reports

    def _on_lost(self, error: Exception | None) -> None:
        if isinstance(error, BusError):
            self._error = error
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
            link.abort()
        else:
            self._spawn(self._restore(link, queue))

    async def _restore(self, link: Link, topic: str) -> None:
        try:
            await self._broker.prepare([topic])
            await self.consumers.restore(link, topic)
        except BusError as error:
            log.warning("a queue cannot be restored; connecting anew", queue=topic, error=str(error))
            link.abort()

    def _count_unanswerable(self) -> None:
        self.counters.unanswerable += 1

    # -- topics without workers

    def _probe_soon(self, endpoint: Endpoint) -> None:
        if endpoint.topic not in self._probing and not self._closed:
            self._probing.add(endpoint.topic)
            self._spawn(self._probe(endpoint))

    async def _probe(self, endpoint: Endpoint) -> None:
        """Look whether a silent topic has workers; while it has a queue but none, its calls are refused at once."""
        try:
            while await self._broker.consumers(endpoint.topic) == 0:
                endpoint.unserved = True
                await asyncio.sleep(PROBE_EVERY)
            endpoint.unserved = False
            await asyncio.sleep(PROBE_EVERY)  # under overload many calls time out; each look costs a connection
        except BusError as error:
            log.warning("cannot look at a queue", queue=endpoint.topic, error=str(error))
        finally:
            endpoint.unserved = False
            self._probing.discard(endpoint.topic)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
