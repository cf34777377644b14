"""A process as a member of the control bus: it announces itself, answers `who`, obeys `drain`, honours tap leases.

And it learns from the presences of others how far its clock is from theirs.
"""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

import structlog

from busgate.contracts import Call

from .address import Address
from .bus import Bus
from .cadence import Cadence
from .control import GOODBYE, Control
from .leases import Leases
from .presence import (
    MOST_CONTRACTS,
    PRESENCE_EXPIRES,
    WHO,
    Kind,
    Presence,
    State,
    drain_key,
    presence_key,
    read_lease,
    read_presence,
    read_sign_of_life,
    served,
    write_presence,
)
from .repeats import Repeats
from .silence import Silence

log = structlog.stdlib.get_logger("busgate.bus")

MOST_OTHERS = 10_000

Served = tuple[Call[Any, Any], str]
"""A contract and the name of the service that answers here; empty at an edge."""


@asynccontextmanager
async def joined(
    bus: Bus,
    *,
    kind: Kind,
    contracts: Sequence[Served],
    on_drain: Callable[[], None],
    admin: str = "",
    stuck: Callable[[], int] = lambda: 0,
) -> AsyncIterator[Callable[[], None]]:
    """Be on the control bus, if the broker has one; gives what to call when this process stops taking work."""
    find = bus.broker.control_address
    if find() is None:
        yield lambda: None
        return
    member = Member(bus, find, kind=kind, contracts=contracts, on_drain=on_drain, admin=admin, stuck=stuck)
    member.start()
    try:
        yield member.drains
    finally:
        await member.leave()


class Member:
    """One process on the control bus. Start it when it serves; `leave` when it is about to end.

    Args:
        bus: its calls.
        find: the address of the broker now.
        kind: edge or worker.
        contracts: what it serves.
        on_drain: called when an operator tells this process to drain.
        admin: the host and port of its admin listener; empty: it has none.
        stuck: how many of its handlers nothing can end.
    """

    def __init__(
        self,
        bus: Bus,
        find: Callable[[], Address | None],
        *,
        kind: Kind,
        contracts: Sequence[Served],
        on_drain: Callable[[], None],
        admin: str = "",
        stuck: Callable[[], int] = lambda: 0,
    ) -> None:
        self._stuck = stuck
        self._bus = bus
        self._kind = kind
        self._contracts = [served(call, service) for call, service in contracts[:MOST_CONTRACTS]]
        self._more_contracts = len(contracts) - len(self._contracts)
        self._on_drain = on_drain
        self._admin = admin
        self._started = int(time.time() * 1000)
        self._version = version("busgate")
        self._draining = False
        self._cadence = Cadence()
        self._sooner = asyncio.Event()
        self._topics = {call.topic for call, _ in contracts} if kind == "edge" else set()
        self._leases = Leases(called=self._calls)
        self._repeats = Repeats()
        self._silence = Silence()
        self._last_seen: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()
        keys = [WHO, drain_key(bus.name), "tap.#"]
        if kind == "worker":  # edges take no calls, so the clocks of others are nothing to them
            keys.append("presence.#")
        self._control = Control(find, name=bus.name, keys=keys, receive=self._receive, on_up=self._news, calls=bus.up)

    def start(self) -> None:
        """Connect in the background."""
        self._bus.on_generation = self._news
        self._control.start()
        self._tasks.append(asyncio.create_task(self._announce(), name=f"{self._bus.name} presence"))

    async def leave(self) -> None:
        """Say that this process is gone, and hang up; bounded in time."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE):
                await self._send(state="gone")
        await self._control.close()

    def drains(self) -> None:
        """Say from now on that no more work is taken."""
        self._draining = True
        self._news()

    # -- what it says

    def presence(self, state: State | None = None) -> Presence:
        """What this process says of itself now."""
        bus = self._bus
        reason = bus.unready
        if state is None:
            state = "draining" if self._draining else "serving" if reason is None else "unready"
        return Presence(
            id=bus.name,
            kind=self._kind,
            version=self._version,
            host=socket.gethostname()[:200],
            pid=os.getpid(),
            started=self._started,
            now=int(time.time() * 1000),
            expires=PRESENCE_EXPIRES,
            state=state,
            reasons=[] if reason is None else [reason[:500]],
            waiting=bus.requester.waiting,
            running=bus.consumers.running,
            stuck=self._stuck(),
            calls=bus.counters.replies if self._kind == "edge" else bus.counters.received,
            reply_queue=bus.reply_queue or "",
            contracts=self._contracts,
            more_contracts=self._more_contracts,
            admin=self._admin[:200],
            silent=self._silence.silent(time.monotonic()),
        )

    async def _announce(self) -> None:
        while True:
            self._cadence.speaks(self._loop.time())
            await self._send()
            self._forget_the_silent()
            self._apply_leases()
            while (left := self._cadence.next - self._loop.time()) > 0:
                self._sooner.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._sooner.wait()

    async def _send(self, state: State | None = None) -> None:
        body = write_presence(self.presence(state))
        await self._control.send(presence_key(self._kind, self._bus.name), body, expires=PRESENCE_EXPIRES)

    def _news(self) -> None:
        self._cadence.changed(self._loop.time())
        self._sooner.set()

    # -- what it hears

    def _receive(self, key: str, body: bytes) -> None:
        word, _, rest = key.partition(".")
        if word == WHO:
            self._cadence.asked(self._loop.time())
            self._sooner.set()
        elif word == "presence":
            self._meet(key, body)
        elif word == "tap":
            self._lease(rest, body)
        elif key == drain_key(self._bus.name):
            if times := self._repeats.count("drain"):
                log.warning("told to drain by the control bus", times=times)
            self._on_drain()
        else:
            self._ignore("of no known kind")

    def _ignore(self, what: str) -> None:
        """Count a message that makes no sense: anyone with rights on the exchange can send any number of them."""
        self._bus.counters.ignored_control += 1
        if times := self._repeats.count(what):
            log.warning("ignored a message on the control bus", what=what, times=times)

    def _meet(self, key: str, body: bytes) -> None:
        presence = read_sign_of_life(key, body)
        if presence is None:
            self._ignore("a presence that is none, or not its sender's own")
            return
        if presence.id not in self._last_seen and len(self._last_seen) >= MOST_OTHERS:
            self._ignore("presences of too many processes")
            return
        if presence.id == self._bus.name:
            return
        if presence.state == "gone":
            self._silence.left(presence.id)
            self._last_seen.pop(presence.id, None)
            self._bus.clocks.forget(presence.id)
            return
        self._hear(presence.id, key, body)
        self._last_seen[presence.id] = time.monotonic()
        self._compare_clocks(presence.id, presence.now)

    def _compare_clocks(self, other: str, theirs_ms: int) -> None:
        clocks = self._bus.clocks
        was_wrong = other in clocks.ahead
        news = clocks.heard(other, theirs_ms=theirs_ms, ours_ms=int(time.time() * 1000))
        if news and (times := self._repeats.count("clock")):
            log.warning("a clock is wrong", other=other, ours_is_ahead_by=clocks.ahead[other], times=times)
        elif was_wrong and other not in clocks.ahead and (times := self._repeats.count("clock right")):
            log.info("a clock is right again", other=other, times=times)

    def _hear(self, name: str, key: str, body: bytes) -> None:
        """Note that it speaks. Who it is, is read once: it stays the same."""
        if not self._silence.spoke(name, time.monotonic()) and (whole := read_presence(key, body)):
            self._silence.heard(whole, time.monotonic())

    def _forget_the_silent(self) -> None:
        long_ago = time.monotonic() - 4 * PRESENCE_EXPIRES
        for name in [name for name, seen in self._last_seen.items() if seen < long_ago]:
            del self._last_seen[name]
            self._bus.clocks.forget(name)

    # -- taps

    def _calls(self, topic: str) -> bool:
        """Whether it is called from here: an edge calls its contracts, a worker what its handlers called so far."""
        return topic in self._topics or topic in self._bus.requester

    def _lease(self, tap_id: str, body: bytes) -> None:
        lease = read_lease(body)
        if lease is None:
            self._ignore("a tap's lease that is none")
        elif not self._leases.take(tap_id, lease, time.monotonic()):
            self._ignore("leases of too many taps")
        else:
            self._apply_leases()

    def _apply_leases(self) -> None:
        """With each lease, and with each presence of ours, which is soon enough to see one end."""
        self._bus.tap_replies(self._leases.topics(time.monotonic()))
