"""Signs the caller of each call, so that services need not believe whoever can write to the bus.

One signature is good for a minute, for a caller and an audience: it is made once, remembered, and made anew in time.
A bound contract has one made for each message.
"""

import time
from collections.abc import Callable
from typing import Any

from busgate.bus.short_memory import ShortMemory
from busgate.bus.signed import LIFETIME, REMEMBERED, SigningKey, digest
from busgate.contracts import Call

from .exchange import Exchange

LONGEST = LIFETIME - 1
"""Seconds that a signature is sure to have left at the start of a call; its `exp` is a whole second."""

Sign = Callable[[Exchange], bytes]
"""Gives the header `jws` of the call of an exchange, which has a caller and a message."""


class CallerSigner:
    """Signs callers with the key of the day.

    Args:
        key: it may be replaced later.
        clock: epoch seconds.

    `made` counts the signatures.
    """

    def __init__(self, key: SigningKey, *, clock: Callable[[], float] = time.time) -> None:
        self.key = key
        self.made = 0
        self._clock = clock
        self._known: ShortMemory[tuple[str, bytes], tuple[bytes, int]] = ShortMemory(REMEMBERED)

    def use(self, key: SigningKey) -> None:
        """Sign with this key from now on. Signatures that are out stay good; services know both keys."""
        if key.kid != self.key.kid:
            self.key = key
            self._known.clear()

    def of(self, call: Call[Any, Any]) -> Sign:
        """What signs the callers of a contract."""
        return self._bound(call) if call.bound else self._shared(call)

    def _shared(self, call: Call[Any, Any]) -> Sign:
        clock, known, audience = self._clock, self._known, call.audience
        needed = min(call.timeout, LONGEST)

        def sign(exchange: Exchange) -> bytes:
            assert exchange.caller is not None
            header = exchange.caller.header
            now = clock()
            found = known.get((audience, header))
            if found is not None and found[1] - now >= needed:
                return found[0]
            jws = self._make(header, audience, now)
            known.put((audience, header), (jws, int(now) + LIFETIME))
            return jws

        return sign

    def _bound(self, call: Call[Any, Any]) -> Sign:
        topic, audience = call.topic, call.audience

        def sign(exchange: Exchange) -> bytes:
            assert exchange.caller is not None
            message = digest(topic, exchange.request.id, exchange.message)
            return self._make(exchange.caller.header, audience, self._clock(), message)

        return sign

    def _make(self, header: bytes, audience: str, now: float, message: str = "") -> bytes:
        self.made += 1
        return self.key.sign(header, audience, now=int(now), message=message)
