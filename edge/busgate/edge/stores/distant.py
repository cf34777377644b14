"""What stores have in common that are not in this process: they answer later, many requests at a time."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from .health import Health
from .jobs import Chain, Get, Job, Once, Put, Take
from .rules import MICROSECONDS, Ask, Verdict


class DistantStore(ABC):
    """A Store (see there) that other processes share."""

    health: Health

    @property
    def unready(self) -> str | None:
        return self.health.reason

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    def do(self, jobs: Sequence[Job]) -> "asyncio.Future[list[Any]]":
        """Do these for one request, one after the other until one says no, while nobody else comes in between.

        What comes is the results of those that were done, the last of which may be a no.

        Raises:
            StoreUnavailable: at once or later. Later, the jobs may have been done.
        """
        return self._ask(Chain(jobs))

    def take(self, asks: Sequence[Ask]) -> "asyncio.Future[Verdict]":
        return self._ask(Take(asks))

    def once(self, key: str, ttl: float) -> "asyncio.Future[bool]":
        return self._ask(Once(key, round(ttl * MICROSECONDS)))

    def get(self, key: str) -> "asyncio.Future[bytes | None]":
        return self._ask(Get(key))

    def put(self, key: str, value: bytes, ttl: float) -> "asyncio.Future[None]":
        return self._ask(Put(key, value, round(ttl * MICROSECONDS)))

    @abstractmethod
    def _ask(self, job: Job | Chain) -> "asyncio.Future[Any]": ...
