"""The scheme `key`: who presents an API key."""

import secrets
import time
from collections.abc import Callable

from busgate.edge.exchange import Exchange
from busgate.edge.verified import CredentialRefused, VerifiedCaller

from .memory import ApiKey
from .records import NEVER
from .text import read_key

COARSE = 60.0
"""Seconds by which the time of the last use may be off."""


class ApiKeys:
    """All keys by name, and which of them were used.

    Args:
        header: that a key comes in.
        clock: epoch seconds.
    """

    names = frozenset({"key"})

    def __init__(self, header: str, *, clock: Callable[[], float] = time.time) -> None:
        self.challenge = f'ApiKey realm="busgate", header="{header}"'
        self.refusal = f'{self.challenge}, error="invalid_key"'
        self._header = header.lower().encode()
        self._clock = clock
        self._nobodys = ApiKey(None, [(secrets.token_bytes(32), NEVER)], mark=0)
        self._keys: dict[str, ApiKey] = {}
        self._used: dict[str, float] = {}

    def presented(self, exchange: Exchange) -> bool:
        return self._header in exchange.head.headers

    def verify(self, exchange: Exchange) -> VerifiedCaller:
        name, digest = read_key(exchange.head.headers[self._header])
        now = self._clock()
        key = self._keys.get(name, self._nobodys)
        if not key.holds(digest, now):
            raise CredentialRefused("a key that is not known, revoked or expired")
        if key.caller is None:
            raise CredentialRefused("a key whose plan is not configured")
        if now - key.used >= COARSE:
            key.used = self._used[name] = now
        return key.caller

    @property
    def known(self) -> dict[str, ApiKey]:
        """All keys, by name."""
        return self._keys

    def replace(self, keys: dict[str, ApiKey]) -> None:
        """Take these keys from now on."""
        self._keys = keys

    def take_used(self) -> dict[str, float]:
        """The keys that were used since this was asked last, and when: epoch seconds, off by COARSE at most."""
        used, self._used = self._used, {}
        return used

    def __len__(self) -> int:
        return len(self._keys)
