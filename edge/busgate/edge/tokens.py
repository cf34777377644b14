"""Bearer tokens: verified once, then remembered until they end or the keys change.

A verification costs some 100 us, a remembered token less than one. Remembering by the exact text of the token
is safe: what is remembered is only that this very text was verified. Another spelling of the same token (an
ECDSA signature has two) is another text, verified by itself; and nothing is ever revoked by a token's text.
Only tokens that hold are remembered, so that a flood of forged ones drives nobody out.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import jwt

from .claims import caller_of, check_header
from .compact import Json, TokenRefused, read_compact
from .issuers import IssuerSettings
from .keys import KeySet
from .verified import VerifiedCaller

REMEMBERED = 10_000
"""Tokens in memory, about 2 kB each."""


class ForeignToken(TokenRefused):
    """A token that is no JWT of any issuer here: an opaque one, perhaps."""


class UnknownKey(TokenRefused):
    """A token that none of the keys at hand signed, of an issuer that may have new ones at a URL."""

    def __init__(self, issuer: str) -> None:
        super().__init__("signed by no key that is known here")
        self.issuer = issuer


class TokenVerifier:
    """Verifies tokens of several issuers, each with its own keys and rules.

    Args:
        issuers: at most one of each name.
        remembered: the most tokens to remember; the one unused for longest goes first.
        clock: epoch seconds.
    """

    def __init__(
        self,
        issuers: Iterable[IssuerSettings],
        *,
        remembered: int = REMEMBERED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuers = {issuer.issuer: _Issuer(issuer, issuer.key_set()) for issuer in issuers}
        self._known: OrderedDict[str, VerifiedCaller] = OrderedDict()
        self._limit = remembered
        self._clock = clock

    def verify(self, token: str) -> VerifiedCaller:
        """Who presents this token.

        Raises:
            UnknownKey: it proves nothing yet; with the issuer's newest keys it may.
            ForeignToken: none of the issuers can have made it.
            TokenRefused: it proves nothing, and why.
        """
        known = self._known.get(token)
        if known is not None and known.expires > self._clock():
            self._known.move_to_end(token)
            return known
        return self._verify(token)

    def replace_keys(self, issuer: str, keys: KeySet) -> None:
        """Let an issuer sign with other keys from now on. Forgets every token, those of other issuers too.

        Raises:
            KeyError: there is no such issuer.
        """
        self._issuers[issuer] = _Issuer(self._issuers[issuer].settings, keys)
        self._known.clear()

    def __len__(self) -> int:
        """How many tokens are remembered."""
        return len(self._known)

    def _verify(self, token: str) -> VerifiedCaller:
        self._known.pop(token, None)
        try:
            header, claims = read_compact(token)
        except TokenRefused as error:
            raise ForeignToken(str(error)) from None
        name = claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise ForeignToken("of an issuer that is not trusted here")
        verified = issuer.verify(token, header, claims, now=self._clock())
        while len(self._known) >= self._limit > 0:
            self._known.popitem(last=False)
        if self._limit > 0:
            self._known[token] = verified
        return verified


class _Issuer:
    """One issuer at work. PyJWT checks signature, `crit`, `iss`, `aud`, `sub` and `jti`.

    Times are left to `claims`, by one clock: PyJWT takes an `exp` that is a text, or ages away.
    """

    def __init__(self, settings: IssuerSettings, keys: KeySet) -> None:
        self.settings = settings
        self._keys = keys
        self._may_have_more = any(key.jwks_url is not None for key in settings.keys)
        self._jwt = jwt.PyJWT(
            {
                "require": ["exp", "iss", "sub"],
                "verify_aud": not settings.any_audience,
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
                "enforce_minimum_key_length": True,
            }
        )

    def verify(self, token: str, header: Json, claims: Json, *, now: float) -> VerifiedCaller:
        check_header(header, self.settings)
        self._check_signature(token, header)
        return caller_of(claims, self.settings, issuer=self.settings.issuer, scheme="jwt", now=now)

    def _check_signature(self, token: str, header: Json) -> None:
        kid = header.get("kid")
        for key in self._keys.find(kid, header.get("alg")):
            try:
                self._decode(token, key.material, key.algorithm)
            except jwt.InvalidSignatureError:
                continue
            except jwt.MissingRequiredClaimError as error:
                raise TokenRefused(f"it has no {error.claim}") from error
            except jwt.InvalidAudienceError as error:
                raise TokenRefused("its aud does not name us") from error
            except jwt.PyJWTError as error:
                raise TokenRefused(type(error).__name__) from error
            return
        if self._may_have_more and not self._keys.knows(kid):
            raise UnknownKey(self.settings.issuer)
        raise TokenRefused("signed by no key that is known here")

    def _decode(self, token: str, material: Any, algorithm: str) -> None:
        self._jwt.decode(
            token,
            material,
            algorithms=[algorithm],
            audience=self.settings.audience or None,
            issuer=self.settings.issuer,
        )
