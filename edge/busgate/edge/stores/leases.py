"""The places that this process has among those that run at a time in all processes: held as long as it lives.

A store keeps how many places each holder has, and that the holder is alive, for LEASE seconds: one task says so
again and again for all places. So those of a killed process come back. Where it is in doubt what the store knows of
this process (it was away, it forgot, it did not hear of us for too long), the process becomes another holder, tells
what that one has, and what it had as the old one counts no more.
"""

import asyncio
import secrets
from collections import deque
from contextlib import suppress
from typing import Any

import structlog

from .distant import DistantStore
from .jobs import ALIVE, Get, Hold, Put
from .rules import MICROSECONDS
from .store import StoreUnavailable

log = structlog.stdlib.get_logger("busgate.edge")

LEASE = 15.0
"""Seconds for which a process is alive since it said so last."""
RENEW = 5.0
"""Seconds from one time that it says so to the next."""
AGAIN = 0.5
"""Seconds to the next try while the store cannot be told."""
NO_LIMIT = 1_000_000_000
"""More places than any limit has."""
FORMER = 64
"""Names of its own that a process remembers: more than it can have had within LEASE, whatever the store does."""
LONGEST = 24 * 3600 * MICROSECONDS
"""Microseconds for which no request can last: a body takes an hour at most, a call five minutes."""


class Leases:
    """The places of this process. Start it before the first request; close it after the last.

    Args:
        store: where all processes have theirs.
    """

    def __init__(self, store: DistantStore) -> None:
        self._store = store
        self._holder = _new_holder()
        self._former: deque[str] = deque(maxlen=FORMER)  # that the store may still take for alive
        self._held: dict[str, int] = {}
        self._doubt = asyncio.Event()
        self._doubt.set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Say that this process lives, if the store can be told now, and from now on."""
        with suppress(StoreUnavailable):
            await self.renew()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        with suppress(StoreUnavailable):
            await self._store.do([Put(ALIVE + self._holder, b"", 0)])

    def __len__(self) -> int:
        """Places that are held."""
        return sum(self._held.values())

    def of(self, key: str) -> int:
        """Places of a key that this process holds."""
        return self._held.get(key, 0)

    def more(self, key: str, most: int) -> Hold:
        """What to ask the store for one place more. Tell `taken` where it says yes."""
        return Hold(key, self._holder, 1, most, LONGEST)

    def taken(self, asked: Hold) -> None:
        """The store said yes, or may have and it is done without it."""
        self._held[asked.key] = self._held.get(asked.key, 0) + 1
        if asked.holder != self._holder:  # it is counted for one who counts no more
            self._tell(asked.key, 1)

    def give_back(self, key: str) -> None:
        """A place is not held any more. The store is told; nobody waits for that."""
        left = self._held[key] - 1
        if left:
            self._held[key] = left
        else:
            del self._held[key]
        self._tell(key, -1)

    def _tell(self, key: str, change: int) -> None:
        try:
            told = self._store.do([Hold(key, self._holder, change, NO_LIMIT, LONGEST)])
        except StoreUnavailable:
            self.doubt()
        else:
            told.add_done_callback(self._look)

    def doubt(self) -> None:
        """The store may know something else than is so."""
        self._doubt.set()

    def _look(self, told: "asyncio.Future[Any]") -> None:
        if told.exception() is not None:
            self.doubt()

    async def _run(self) -> None:
        while True:
            try:
                await self.renew()
            except StoreUnavailable:
                await asyncio.sleep(AGAIN)
            except Exception:  # a bug must cost one renewal, not all later ones
                log.exception("the places of this process could not be renewed")
                await asyncio.sleep(RENEW)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(RENEW):
                        await self._doubt.wait()

    async def renew(self) -> None:
        """Say that this process is alive; where that was not known, or in doubt, begin anew.

        Raises:
            StoreUnavailable: it could not be said.
        """
        try:
            if not self._doubt.is_set():
                known, _ = await self._store.do([Get(ALIVE + self._holder), self._alive()])
                if known is None:
                    self.doubt()
            if self._doubt.is_set():
                await self._begin_anew()
        except BaseException:
            self.doubt()
            raise

    async def _begin_anew(self) -> None:
        self._doubt.clear()
        self._former.append(self._holder)
        self._holder = _new_holder()
        held = [Hold(key, self._holder, count, NO_LIMIT, LONGEST) for key, count in self._held.items()]
        # One question: no request takes or gives back a place in between.
        await self._store.do([*(Put(ALIVE + each, b"", 0) for each in self._former), self._alive(), *held])
        self._former.clear()

    def _alive(self) -> Put:
        return Put(ALIVE + self._holder, b"", round(LEASE * MICROSECONDS))


def _new_holder() -> str:
    return secrets.token_hex(8)
