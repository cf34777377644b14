"""What a store is: the memory of an edge that its processes share, as far as its kind allows."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from .health import Health
from .rules import Ask, Verdict


class StoreUnavailable(Exception):  # noqa: N818 - a state of the world; who asked decides what it means
    """The store cannot tell or keep this now, and why. Whoever needs it to be sure refuses."""


class Store(Protocol):
    """Remembers by keys of text, each for a time. Start it before its first use, close it after the last.

    Every method either answers at once or returns what to wait for: await it unless it is the answer already.
    A wait is bounded by the store. Each raises StoreUnavailable where there is no answer.

    Keys begin with what they are for: `rate:`, `nonce:`. A key that says a secret is hashed by who makes it.

    Attributes:
        health: how it is, for metrics.
    """

    health: Health

    @property
    def unready(self) -> str | None:
        """Why it cannot be used now."""

    async def start(self) -> None:
        """Be ready, or try for some seconds; later tries go on behind.

        Raises:
            StoreUnavailable: it will never work as it is configured.
        """

    async def close(self) -> None: ...

    def take(self, asks: Sequence[Ask]) -> Verdict | Awaitable[Verdict]:
        """Count one request with all these rules, or with none if one of them does not let it through."""

    def once(self, key: str, ttl: float) -> bool | Awaitable[bool]:
        """True for the first to say this key within `ttl` seconds, in all processes; False for all others."""

    def get(self, key: str) -> bytes | Awaitable[bytes | None] | None:
        """What was put under a key; None when there is nothing, or nothing any more."""

    def put(self, key: str, value: bytes, ttl: float) -> Awaitable[None] | None:
        """Keep a value for `ttl` seconds at most; it may be gone earlier."""
