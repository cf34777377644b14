"""Keeps the keys as their file is, and notes which of them were used. Behind the calls, never in their way."""

import asyncio
import contextlib
import itertools
from collections.abc import Collection
from pathlib import Path

import structlog

from busgate.edge.stores.store import Store, StoreUnavailable

from .memory import ApiKey, load_keys
from .records import KeyFileError
from .scheme import COARSE, ApiKeys

log = structlog.stdlib.get_logger("busgate.edge")

LOOK_EVERY = 1.0
"""Seconds until a change of the file counts."""
AT_ONCE = 100
"""Uses that the store is told of before its answer is waited for."""
REMEMBER = 400 * 24 * 3600.0
"""Seconds for which the last use of a key is kept."""

_Stamp = tuple[int, int, int, int]


class KeyWatch:
    """Reads the file at start, and whenever it has changed. A file that is not good any more changes nothing.

    Args:
        path: of the file.
        keys: what it is read into.
        store: keeps the times of last use, under `used-key:` and the name of the key.
        plans: the names of those that are configured; keys of others are refused.

    Attributes:
        fault: why what stands in the file now is not used; None where it is.
        without_plan: how many keys are refused for their plan.
    """

    def __init__(self, path: Path, keys: ApiKeys, store: Store, *, plans: Collection[str] = ()) -> None:
        self.without_plan = 0
        self._plans = frozenset(plans)
        self._path = path
        self._keys = keys
        self._store = store
        self._used: dict[str, float] = {}
        self.fault: str | None = None
        self._seen: _Stamp | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Have the keys.

        Raises:
            KeyFileError: the file is not good.
        """
        await self._read()
        self._tasks = [asyncio.create_task(self._look()), asyncio.create_task(self._note())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(StoreUnavailable):
            await self.note_used()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            stamp = await asyncio.to_thread(_stamp, self._path)
            if stamp == self._seen:
                self.fault = None
                continue
            try:
                await self._read()
            except KeyFileError as error:
                self._stay(str(error))
            except Exception:  # a bug must cost this look, not all later ones: no key could be revoked any more
                log.exception("the API keys could not be looked at")
                self.fault = "could not be looked at; the log has the traceback"
            else:
                self.fault = None
                log.info("the API keys were read again", keys=len(self._keys))

    def _stay(self, why: str) -> None:
        """Go on with the keys of before, say so once, and look again: it may have been a moment, and a key revoked."""
        if why != self.fault:
            log.error("the API keys stay as they were", why=why)
        self.fault = why

    async def _read(self) -> None:
        self._seen, keys, unfit = await asyncio.to_thread(self._load)
        self._keys.replace(keys)
        self.without_plan = len(unfit)
        if unfit:
            log.error(
                "API keys are refused, for no [[edge.plan]] has the name of their plan", keys=len(unfit), first=unfit[0]
            )

    def _load(self) -> tuple[_Stamp | None, dict[str, ApiKey], list[str]]:
        stamp = _stamp(self._path)  # before it is read: a change in between is seen at the next look
        keys = load_keys(self._path, self._keys.known, plans=self._plans)
        return stamp, keys, [name for name, key in keys.items() if key.caller is None]

    async def _note(self) -> None:
        while True:
            await asyncio.sleep(COARSE)
            try:
                await self.note_used()
            except StoreUnavailable as error:
                log.warning("the last use of API keys cannot be kept", why=str(error))
            except Exception:  # a bug must cost this note, not all later ones
                log.exception("the last use of API keys could not be noted")

    async def note_used(self) -> None:
        """Put into the store which keys were used, many in one message. Raises StoreUnavailable."""
        self._used |= self._keys.take_used()
        while self._used:
            names = list(itertools.islice(self._used, AT_ONCE))
            puts = [self._store.put(used_key(name), str(int(self._used[name])).encode(), REMEMBER) for name in names]
            for name, put in zip(names, puts, strict=True):
                if put is not None:
                    await put
                del self._used[name]


def used_key(name: str) -> str:
    """Where the store has the last use of a key, in epoch seconds."""
    return f"used-key:{name}"


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode
