"""Audit records on the exchange busgate.audit: many in one message, and each message confirmed by the broker.

One at a time they would cost more than the calls that they tell of.
"""

import asyncio
from collections.abc import Callable

import structlog

from busgate.bus import Address, BusError
from busgate.bus.audit import ALLOWED, REFUSED, AuditChannel, UnheardError

from .audit_sinks import CLOSE_WAIT, RETRY_EVERY, Backlog

log = structlog.stdlib.get_logger("busgate.edge")


class ExchangeSink:
    """Publishes records in the background.

    Args:
        find: the address of the broker now; None: there is none.
        name: of this process, for the broker's lists.
        kept: as of Backlog.
        lossless: as of Backlog. Then records that no queue takes wait too; else they are dropped and counted.
    """

    body_limit = 64 * 1024

    def __init__(self, find: Callable[[], Address | None], *, name: str, kept: int, lossless: bool) -> None:
        self._woken = asyncio.Event()
        self.backlog = Backlog(kept, lossless=lossless, wake=self._woken.set)
        self._channel = AuditChannel(find, name=name)
        self._closing = False
        self._pump: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._channel.open()
        self._pump = asyncio.create_task(self._publish_all(), name="audit publisher")

    async def close(self) -> None:
        self._closing = True
        self._woken.set()
        if self._pump is not None:
            await asyncio.wait({self._pump}, timeout=CLOSE_WAIT)
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        self.backlog.abandon()
        await self._channel.close()

    async def _publish_all(self) -> None:
        while not self._closing or self.backlog.waiting:
            await self._woken.wait()
            self._woken.clear()
            while self.backlog.waiting:
                try:
                    await self._publish_some()
                except BusError as error:
                    self.backlog.fail(str(error))
                    if self._closing:
                        return
                    await asyncio.sleep(RETRY_EVERY)
                except Exception:  # a bug must cost this try, not all records to come
                    log.exception("the audit publisher failed")
                    await asyncio.sleep(RETRY_EVERY)

    async def _publish_some(self) -> None:
        """The oldest that have one key, in their order."""
        lines = self.backlog.first()
        refused = lines[0][0]
        count = next((number for number, line in enumerate(lines) if line[0] is not refused), len(lines))
        try:
            body = b"".join(text for _, text in lines[:count])
            await self._channel.publish(REFUSED if refused else ALLOWED, body)
        except UnheardError as error:
            if self.backlog.lossless:
                raise
            self.backlog.fail(str(error), waits=False)
            self.backlog.settle(count, written=False)
        else:
            self.backlog.settle(count)
            self.backlog.recover()
