"""Who is there: asks every process on the control bus, and collects what they say for a moment."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from .address import Address
from .control import LONGEST_PAUSE, Control
from .presence import WHO, Presence, SilentProcess, read_presence
from .silence import SILENT_AFTER, Silence

MOST = 10_000
WAIT = 1.4
"""Seconds in which processes answer: they take 1.2 at most, where somebody else just asked, and the way to and fro."""


class RollCall:
    """The processes that were heard of, by id; kept up to date while it is open. `ignored` messages made no sense.

    `heard` is told of each presence, also of those that another one of the same process soon replaces.
    """

    def __init__(
        self, find: Callable[[], Address | None], *, name: str, heard: Callable[[Presence], None] = lambda _: None
    ) -> None:
        self._tell = heard
        self._control = Control(find, name=name, keys=["presence.#"], receive=self._receive)
        self._heard: dict[str, tuple[Presence, float]] = {}
        self._silence = Silence()
        self._loop = asyncio.get_running_loop()
        self.ignored = 0
        self._hindered = -math.inf
        """When we last saw that others could not be heard."""

    @property
    def present(self) -> list[Presence]:
        """Who is there now, edges first."""
        now = self._loop.time()
        here = [presence for presence, until in self._heard.values() if until > now and presence.state != "gone"]
        return sorted(here, key=lambda presence: (presence.kind, presence.id))

    @property
    def silent(self) -> list[SilentProcess]:
        """Who was there in the last minutes and speaks no more without a goodbye, as we or those present remember."""
        return [each for each in self._silence.silent(self._loop.time()) if not self.is_gone(each.id)]

    def is_gone(self, process_id: str) -> bool:
        """Whether a process said goodbye; one that is only silent did not."""
        heard = self._heard.get(process_id)
        return heard is not None and heard[0].state == "gone"

    async def ask(self) -> bool:
        """Ask everybody; the answers come in the next moments. False: the connection fell."""
        return await self._control.send(WHO)

    @property
    def gathers(self) -> bool:
        """Whether the broker was away or blocked a moment ago: others are silent until they can speak again."""
        return self._loop.time() - self._hindered < LONGEST_PAUSE + SILENT_AFTER

    async def is_blocked(self) -> bool:
        """Whether the broker takes no messages from anybody (a memory or disk alarm): all are silent then."""
        blocked = await self._control.is_blocked()
        if blocked:
            self._hindered = self._loop.time()
        return blocked

    async def ask_again(self) -> None:
        """Ask everybody, over a new connection where the old one fell.

        Raises:
            BusError: the control bus cannot be used.
        """
        if not await self.ask():
            await self.close()
            await self.open()
            self._hindered = self._loop.time()

    async def tell(self, key: str, body: bytes = b"", *, expires: float = 10.0) -> bool:
        """Send something else on the control bus; False: it could not be sent."""
        return await self._control.send(key, body, expires=expires)

    def _receive(self, key: str, body: bytes) -> None:
        presence = read_presence(key, body)
        if presence is None:
            self.ignored += 1
            return
        self._tell(presence)
        now = self._loop.time()
        self._silence.heard(presence, now)
        for each in presence.silent:
            self._silence.told(each, now)
        if len(self._heard) >= MOST:
            self._heard = {name: heard for name, heard in self._heard.items() if heard[1] > now}
        if presence.id in self._heard or len(self._heard) < MOST:
            self._heard[presence.id] = presence, now + presence.expires

    async def open(self) -> None:
        await self._control.open()
        await self.ask()

    async def close(self) -> None:
        await self._control.close()


@asynccontextmanager
async def roll_call(find: Callable[[], Address | None], *, name: str, wait: float = WAIT) -> AsyncIterator[RollCall]:
    """An open roll call, after the first answers came.

    Raises:
        BusError: the control bus cannot be used.
    """
    roll = RollCall(find, name=name)
    try:
        await roll.open()
        await asyncio.sleep(wait)
        yield roll
    finally:
        await roll.close()
