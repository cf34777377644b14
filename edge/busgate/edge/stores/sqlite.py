"""The store of several processes on one machine: a file of SQLite, written by one thread of each process.

The loop never waits for the disk: jobs of a turn go to the thread together and make one transaction.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from .distant import DistantStore
from .health import Health
from .jobs import Chain, Get, Inbox, Job, Waiting
from .sqlite_file import SqliteFile, wall_clock
from .store import StoreUnavailable

log = structlog.stdlib.get_logger("busgate.edge")

BATCH = 200
"""Jobs of one transaction: some milliseconds, in which no other process can write."""
PATIENCE = 3.0
"""Seconds for a transaction, with its wait for those of other processes."""
PROBE = 1.0
"""Seconds from one look at a file that failed to the next."""


class SqliteStore(DistantStore):
    """A store for the processes of one machine. Nothing is lost when they end; what a loss of power takes with it
    are some last moments.

    Args:
        path: of the file; it is made, readable by its owner alone.
        clock: microseconds since the epoch.
    """

    def __init__(self, path: Path, *, clock: Callable[[], int] = wall_clock) -> None:
        self.health = Health("sqlite")
        self._file = SqliteFile(path, clock)
        self._inbox = Inbox(self._wake)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="busgate-store")
        self._working: asyncio.Task[None] | None = None
        self._late: asyncio.Future[Any] | None = None
        self._probe: asyncio.TimerHandle | None = None
        self._closed = False

    async def start(self) -> None:
        await self._in_thread(self._file.open)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._probe is not None:
            self._probe.cancel()
        if self._working is not None:
            await self._working
        with suppress(StoreUnavailable):  # it does not answer; the process ends anyway
            await self._in_thread(self._file.close)
        self._thread.shutdown(wait=False)

    def _ask(self, job: Job | Chain) -> asyncio.Future[Any]:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return self._inbox.add(job)

    def _wake(self) -> None:
        if self._working is None:
            self._working = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while batch := self._inbox.empty(BATCH):
            await self._do(batch)
        self._working = None

    async def _do(self, batch: list[Waiting]) -> None:
        try:
            results = await self._in_thread(lambda: self._file.do([waiting.job for waiting in batch]))
        except asyncio.CancelledError:  # the loop ends: nobody may be left waiting for what does not come
            while batch:
                self._none_done(batch, "it was ended")
                batch = self._inbox.empty(BATCH)
            raise
        except StoreUnavailable as error:
            self._none_done(batch, str(error))
            return
        except Exception:  # a bug of ours must not stop the others for good
            log.exception("the store failed")
            self._none_done(batch, "it failed; see the log")
            return
        self.health.well()
        for waiting, result in zip(batch, results, strict=True):
            if isinstance(result, StoreUnavailable):
                self._failed(str(result))
                waiting.fail(str(result))
            else:
                waiting.tell(result)

    def _none_done(self, batch: list[Waiting], reason: str) -> None:
        self._failed(reason)
        for waiting in batch:
            waiting.fail(reason)

    def _failed(self, reason: str) -> None:
        self.health.failed(reason)
        if self._probe is None and not self._closed:
            self._probe = asyncio.get_running_loop().call_later(PROBE, self._look)

    def _look(self) -> None:
        """Find out whether it works again, though nobody may ask while it does not."""
        self._probe = None
        if not self._closed:
            self._ask(Get("probe:"))

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        """Raises StoreUnavailable: it failed, or took too long; then it may still go on in its thread."""
        if self._late is not None and not self._late.done():
            raise StoreUnavailable("the disk does not answer")  # at once: else a queue would build up behind it
        done = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(done)
        except TimeoutError:
            self._late = done
            done.add_done_callback(_forget)
            raise StoreUnavailable(f"the disk did not answer within {PATIENCE:.0f} s") from None


def _forget(late: "asyncio.Future[Any]") -> None:
    """What came of work that nobody waits for any more is no news to the loop."""
    if not late.cancelled():
        late.exception()
