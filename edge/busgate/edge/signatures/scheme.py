"""The scheme `signature`: who signed a request, from its head alone. The body is judged by `content`."""

import time
from collections.abc import Awaitable, Callable
from hashlib import blake2b

from busgate.edge.exchange import Exchange
from busgate.edge.front_door import has_body
from busgate.edge.refusal import STORE_UNAVAILABLE, Refusal
from busgate.edge.stores.jobs import Once
from busgate.edge.stores.rules import MICROSECONDS
from busgate.edge.stores.store import Store, StoreUnavailable
from busgate.edge.verified import CredentialRefused, VerifiedCaller

from .components import Coverage, Origin, read_coverage
from .content import SignedContent
from .fields import SignatureInput, read_digests, read_input, read_signature
from .keys import KeyRing
from .settings import SignatureSettings

_REMEMBERED = 256
"""Lists of components that held once: a client has one or two."""


class Signatures:
    """HTTP Message Signatures (RFC 9421), each good once.

    Args:
        settings: what they must be.
        store: remembers nonces.
        clock: epoch seconds.
    """

    names = frozenset({"signature"})
    challenge = 'Signature realm="busgate"'
    refusal = f'{challenge}, error="invalid_signature"'

    def __init__(self, settings: SignatureSettings, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._keys = KeyRing(settings.load())
        self._origin = Origin(settings.origin)
        self._required = frozenset(settings.components)
        self._window = settings.window
        self._tag = settings.tag
        self._store = store
        self._clock = clock
        self._coverages: dict[str, Coverage] = {}

    def presented(self, exchange: Exchange) -> bool:
        headers = exchange.head.headers
        return b"signature-input" in headers or b"signature" in headers

    def verify(self, exchange: Exchange) -> VerifiedCaller | Awaitable[VerifiedCaller]:
        headers = exchange.head.headers
        given = read_input(headers.get(b"signature-input"))
        signature = read_signature(headers.get(b"signature"), given.label)
        now = self._clock()
        self._check_use(given, now)
        coverage = self._coverages.get(given.components) or read_coverage(given.components, self._required)
        if not coverage.digest and has_body(headers):
            raise CredentialRefused("the body is not covered")
        digests = read_digests(headers.get(b"content-digest")) if coverage.digest else None
        base = coverage.base(exchange, self._origin, given.text)
        caller = self._keys.verify(given.keyid, base, signature, alg=given.alg, now=now)
        self._remember(given.components, coverage)
        exchange.signed = SignedContent(coverage.names, digests)
        return self._once(exchange, given, caller, now)

    def _check_use(self, given: SignatureInput, now: float) -> None:
        if abs(now - given.created) > self._window:
            raise CredentialRefused("created is outside the window")
        if given.expires is not None and given.expires <= now:
            raise CredentialRefused("expired")
        if self._tag is not None and given.tag != self._tag:
            raise CredentialRefused("the tag is another")

    def _remember(self, components: str, coverage: Coverage) -> None:
        """Only what a caller of ours has signed: nobody else can fill this."""
        if components not in self._coverages and len(self._coverages) < _REMEMBERED:
            self._coverages[components] = coverage

    def _once(
        self, exchange: Exchange, given: SignatureInput, caller: VerifiedCaller, now: float
    ) -> VerifiedCaller | Awaitable[VerifiedCaller]:
        # A second more than the window: clocks of other processes and the store count on their own.
        ttl = given.created + self._window - now + 1
        name = blake2b(f"{given.keyid}\0{given.nonce}".encode(), digest_size=16).hexdigest()
        key = f"nonce:{name}"
        if exchange.looks is not None:
            exchange.looks.append(_Nonce(key, ttl))
            return caller
        try:
            first = self._store.once(key, ttl)
        except StoreUnavailable as error:
            raise Refusal(STORE_UNAVAILABLE) from error
        if not isinstance(first, bool):
            return self._wait(first, caller)
        if not first:
            raise _replayed()
        return caller

    async def _wait(self, first: Awaitable[bool], caller: VerifiedCaller) -> VerifiedCaller:
        try:
            if not await first:
                raise _replayed()
        except StoreUnavailable as error:
            raise Refusal(STORE_UNAVAILABLE) from error
        return caller


class _Nonce:
    """A look whether a nonce is new."""

    __slots__ = ("job",)
    proves_caller = True

    def __init__(self, key: str, ttl: float) -> None:
        self.job = Once(key, round(ttl * MICROSECONDS))

    def told(self, exchange: Exchange, result: bool) -> None:  # noqa: ARG002 - as in Look
        if not result:
            raise _replayed()

    def untold(self, exchange: Exchange) -> bool:  # noqa: ARG002 - as in Look
        return False


def _replayed() -> CredentialRefused:
    return CredentialRefused("the nonce was used before")
