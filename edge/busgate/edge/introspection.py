"""Opaque tokens: the issuer is asked whether they are good (OAuth 2.0 Token Introspection, RFC 7662).

What it says is remembered for seconds, by all processes that share a store: so long may a token that was withdrawn
still be good here. Where it cannot be asked nobody is let in: the token may be good, so the answer is 503 and not 401.
"""

import base64
import hashlib
import re
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Self
from urllib.parse import quote_plus, urlencode

import aiohttp
import structlog
from pydantic import AfterValidator, Field, model_validator

from busgate.bus.tables import PublicFile, Secret

from .claim_rules import Claim, ClaimRules
from .claims import caller_of, find_claim
from .compact import TOKEN_LIMIT, Json, TokenRefused, read_object
from .issuers import safe_url
from .outbound import FetchError, asked, new_session, read
from .refusal import INTROSPECTION_UNAVAILABLE, Refusal
from .remembered import RETRY, Found, Remembered
from .shared_verdicts import SharedVerdicts
from .stores.distant import DistantStore
from .verified import VerifiedCaller

log = structlog.stdlib.get_logger("busgate.edge")

BAD_FOR = 5.0
"""Seconds for which a token that is not good is not asked about again; less where the settings say so."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class IntrospectionSettings(ClaimRules):
    """The table [edge.introspection]: who is asked about bearer tokens that are no JWT of a known issuer.

    Args:
        issuer: whose tokens they are; where the answer names another `iss`, the token is refused.
        url: of the introspection endpoint, by https; http on this machine only. Redirects are not followed.
        client_id: what the edge is called there.
        client_secret: its password there, sent as HTTP Basic.
        cafile: PEM of the authorities that may vouch for the host; without it, those of the system.
        subject_claim: where the subject stands; `client_id` for tokens that no person is behind.
        remember: seconds for which a good token is not asked about again, by no process that shares [edge.store]; and a
            bad one for at most 5, by this one.
        at_once: questions under way at a time, in one process; more get 503.
    """

    issuer: str = Field(min_length=1, max_length=512)
    url: Annotated[str, AfterValidator(safe_url)]
    client_id: str = Field(min_length=1)
    client_secret: Secret
    cafile: PublicFile | None = None
    subject_claim: Claim = "sub"
    remember: float = Field(30.0, ge=0, le=3600)
    at_once: int = Field(64, ge=1, le=10_000)

    def tls(self) -> ssl.SSLContext:
        """How the host is made sure of. Raises ValueError, but not once this table was validated."""
        try:
            return ssl.create_default_context(cafile=self.cafile)
        except OSError as error:  # ssl.SSLError is one
            raise ValueError("cafile does not hold certificates in PEM") from error

    @model_validator(mode="after")
    def _has_authorities(self) -> Self:
        if self.cafile is not None:
            self.tls()
        return self


class Introspector:
    """Asks about tokens, one question for each at a time.

    Args:
        settings: whom to ask, and what must be said.
        store: where other processes learn of what was said; None: there are none, or they share nothing.
        clock: epoch seconds.

    Attributes:
        asked: questions to the issuer.
        failed: questions without an answer that can be used.
        shared: what was said to others; None: nothing is shared.
    """

    def __init__(
        self,
        settings: IntrospectionSettings,
        *,
        store: DistantStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.asked = self.failed = 0
        self.shared = None if store is None else SharedVerdicts(settings, store, clock=clock)
        self._settings = settings
        self._known = Remembered(at_once=settings.at_once, unavailable=INTROSPECTION_UNAVAILABLE, clock=clock)
        self._session: aiohttp.ClientSession | None = None
        self._why = ""  # it could not be asked the last time
        login = f"{quote_plus(settings.client_id)}:{quote_plus(settings.client_secret.get_secret_value())}"
        self._headers = {
            "Accept": "application/json",
            "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
        }

    def start(self) -> None:
        """Be ready to ask. Nothing is asked yet."""
        self._session = new_session(self._settings.tls(), limit=self._settings.at_once)

    async def close(self) -> None:
        await self._known.close()
        if self._session is not None:
            await self._session.close()

    @property
    def refused(self) -> int:
        """Requests that got 503, because too many questions were under way."""
        return self._known.refused

    def __len__(self) -> int:
        """How many good tokens are remembered."""
        return len(self._known)

    def verify(self, token: str) -> VerifiedCaller | Awaitable[VerifiedCaller]:
        """Who presents this token; at once where that is remembered.

        Raises:
            CredentialRefused: it is not good.
            Refusal: INTROSPECTION_UNAVAILABLE.
        """
        if len(token) > TOKEN_LIMIT or not _TOKEN.fullmatch(token):
            raise TokenRefused("not a token that could stand in a header")
        hashed = hashlib.sha256(token.encode()).digest()
        return self._known.find(hashed, lambda: self._question(token, hashed))

    async def _question(self, token: str, hashed: bytes) -> Found:
        if self.shared is None:
            return await self._ask(token)
        known = await self.shared.find(hashed)
        if known is not None:
            return Found(known, known.expires)
        found = await self._ask(token)
        if found.caller is not None:
            self.shared.keep(hashed, found.caller)
        return found

    async def _ask(self, token: str) -> Found:
        self.asked += 1
        try:
            claims = await self._fetch(token)
        except FetchError as error:
            self.failed += 1
            self._tell(str(error))
            raise Refusal(INTROSPECTION_UNAVAILABLE, headers=RETRY) from error
        self._tell("")
        now = self._known.clock()
        try:
            found = self._read(claims, now)
        except TokenRefused as error:
            return Found(None, now + min(BAD_FOR, self._settings.remember), str(error))
        return Found(found, found.expires)

    async def _fetch(self, token: str) -> Json:
        assert self._session is not None
        form = urlencode({"token": token, "token_type_hint": "access_token"}).encode()
        async with asked(self._session, "POST", self._settings.url, headers=self._headers, data=form) as response:
            text = await read(response)
        try:
            claims = read_object(text)
        except TokenRefused as error:
            raise FetchError(f"its answer is {error}") from None
        if not isinstance(claims.get("active"), bool):
            raise FetchError("its answer does not say whether the token is active")
        return claims

    def _tell(self, why: str) -> None:
        """Say once that the issuer cannot be asked, and once that it can be again."""
        if why and not self._why:
            log.error("cannot ask about tokens", url=self._settings.url, error=why)
        elif self._why and not why:
            log.info("tokens can be asked about again", url=self._settings.url)
        self._why = why

    def _read(self, claims: Json, now: float) -> VerifiedCaller:
        settings = self._settings
        if not claims["active"]:
            raise TokenRefused("not active")
        if claims.get("iss", settings.issuer) != settings.issuer:
            raise TokenRefused("of another issuer")
        _check_audience(claims.get("aud", []), settings)
        until = now + settings.remember
        told = {"exp": until} | claims | {"sub": find_claim(claims, settings.subject_claim)}
        found = caller_of(told, settings, issuer=settings.issuer, scheme="introspection", now=now)
        found.expires = min(found.expires, until)
        return found


def _check_audience(value: object, rules: ClaimRules) -> None:
    named = value if isinstance(value, list) else [value]
    if not rules.any_audience and not any(each in rules.audience for each in named):
        raise TokenRefused("its aud does not name us")
