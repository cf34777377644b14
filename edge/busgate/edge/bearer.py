"""The scheme Bearer (RFC 6750): tokens in the Authorization header."""

import time
from collections.abc import Awaitable, Callable
from functools import partial

from .client_certificates import check_binding
from .exchange import Exchange
from .introspection import Introspector
from .issuer_keys import IssuerKeys
from .later import Later
from .tokens import ForeignToken, TokenVerifier, UnknownKey
from .verified import VerifiedCaller

_SCHEME = b"bearer "


class Bearer:
    """JWTs and opaque tokens as bearer tokens. The scheme is read in any case, one space follows.

    Args:
        tokens: verifies JWTs.
        keys: of their issuers, where those publish them.
        introspector: asks about what is no JWT of those issuers; None: it is refused.
        clock: epoch seconds, for certificates that tokens are bound to.
    """

    challenge = 'Bearer realm="busgate"'
    refusal = f'{challenge}, error="invalid_token"'

    def __init__(
        self,
        tokens: TokenVerifier,
        keys: IssuerKeys,
        introspector: Introspector | None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.names = frozenset({"jwt"} if introspector is None else {"jwt", "introspection"})
        self._tokens = tokens
        self._keys = keys
        self._introspector = introspector
        self._clock = clock

    def presented(self, exchange: Exchange) -> bool:
        value = exchange.head.headers.get(b"authorization")
        return value is not None and len(value) > len(_SCHEME) and value[: len(_SCHEME)].lower() == _SCHEME

    def verify(self, exchange: Exchange) -> VerifiedCaller | Awaitable[VerifiedCaller]:
        token = exchange.head.headers[b"authorization"][len(_SCHEME) :].decode("latin-1")
        found = self._find(token)
        if not isinstance(found, VerifiedCaller):
            return Later(partial(self._wait, found, exchange))
        check_binding(found, exchange, self._clock)
        return found

    async def _wait(self, wait: Awaitable[VerifiedCaller], exchange: Exchange) -> VerifiedCaller:
        found = await wait
        check_binding(found, exchange, self._clock)
        return found

    def _find(self, token: str) -> VerifiedCaller | Awaitable[VerifiedCaller]:
        try:
            return self._tokens.verify(token)
        except UnknownKey as error:
            return Later(partial(self._with_new_keys, token, error.issuer))
        except ForeignToken:
            if self._introspector is None:
                raise
            return self._introspector.verify(token)

    async def _with_new_keys(self, token: str, issuer: str) -> VerifiedCaller:
        await self._keys.renew(issuer)
        return self._tokens.verify(token)
