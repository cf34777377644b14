"""The scheme pre-call: a service on the bus decides who calls, from headers of the request.

What it says holds for as long as it says. Where it cannot be asked nobody is let in: 503, and the call was not made.
"""

import hashlib
import re
from collections.abc import Awaitable
from typing import Annotated

import structlog
from pydantic import AfterValidator, Field

from busgate.bus import Bus, Ids
from busgate.bus.tables import Names, Table
from busgate.bus.typed import TypedEndpoint
from busgate.bus.wire import new_context
from busgate.contracts import Caller, CallFailed, PreCallQuestion, PreCallVerdict, pre_call
from busgate.contracts.call import is_topic

from .claims import is_scope
from .exchange import Exchange
from .refusal import PRE_CALL_FAILED, Refusal
from .remembered import RETRY, Found, Remembered
from .verified import CredentialRefused, VerifiedCaller

log = structlog.stdlib.get_logger("busgate.edge")

_HEADER = re.compile(r"[a-z0-9-]+")


def _topic(text: str) -> str:
    if not is_topic(text):
        raise ValueError("is the topic of a contract, like auth.decide.v1")
    return text


def _headers(names: tuple[str, ...]) -> tuple[str, ...]:
    lower = tuple(name.lower() for name in names)
    for name in lower:
        if not _HEADER.fullmatch(name):
            raise ValueError(f"{name!r} is not a header name (letters, digits and hyphens)")
        if name in ("authorization", "content-length", "content-type", "host"):
            raise ValueError(f"the header {name!r} is the edge's own to read")
    return lower


class PreCallSettings(Table):
    """The table [edge.pre_call]: a service on the bus that decides who calls. See `busgate.contracts.pre_call`.

    Args:
        topic: of its contract.
        headers: names of the headers that it is shown. A request that has one of them presents a credential.
        issuer: of the callers that it names.
        timeout: seconds that it has.
        longest: seconds for which its word holds at most, whatever it says.
        at_once: questions under way at a time, in one process; more get 503.
    """

    topic: Annotated[str, AfterValidator(_topic)]
    headers: Annotated[Names, Field(min_length=1), AfterValidator(_headers)]
    issuer: str = Field("pre-call", min_length=1, max_length=512)
    timeout: float = Field(2.0, ge=0.05, le=30)
    longest: float = Field(300.0, ge=0, le=86400)
    at_once: int = Field(64, ge=1, le=10_000)


class PreCall:
    """Asks that service.

    Attributes:
        failed: questions without an answer that can be used.
    """

    names = frozenset({"pre-call"})
    challenge = refusal = ""  # how to present such a credential is between the client and the service

    def __init__(self, settings: PreCallSettings, bus: Bus) -> None:
        self.failed = 0
        self._settings = settings
        self._endpoint = TypedEndpoint(bus, pre_call(settings.topic, timeout=settings.timeout))
        self._names = tuple(name.encode() for name in settings.headers)
        self._known = Remembered(at_once=settings.at_once, unavailable=PRE_CALL_FAILED)
        self._ids = Ids()
        self._why = ""  # it could not be asked the last time

    @property
    def asked(self) -> int:
        """Questions to the service."""
        return self._known.asked

    @property
    def refused(self) -> int:
        """Requests that got 503, because too many questions were under way."""
        return self._known.refused

    async def close(self) -> None:
        await self._known.close()

    def presented(self, exchange: Exchange) -> bool:
        headers = exchange.head.headers
        return any(name in headers for name in self._names)

    def verify(self, exchange: Exchange) -> VerifiedCaller | Awaitable[VerifiedCaller]:
        question = self._question_of(exchange)
        key = hashlib.sha256(question.model_dump_json().encode()).digest()
        return self._known.find(key, lambda: self._ask(question))

    def _question_of(self, exchange: Exchange) -> PreCallQuestion:
        headers = exchange.head.headers
        try:
            shown = {name.decode(): headers[name].decode() for name in self._names if name in headers}
        except UnicodeDecodeError:
            raise CredentialRefused("a header that is shown to the service is not UTF-8") from None
        return PreCallQuestion(topic=exchange.topic, address=exchange.address, headers=shown)

    async def _ask(self, question: PreCallQuestion) -> Found:
        try:
            verdict = await self._endpoint.call(question, new_context(self._ids), self._settings.timeout)
        except CallFailed as error:
            self.failed += 1
            if not self._why:
                log.error("cannot ask who calls", topic=self._settings.topic, error=str(error))  # noqa: TRY400 - foreseen
            self._why = str(error)
            raise Refusal(PRE_CALL_FAILED, headers=RETRY) from error
        if self._why:
            log.info("who calls can be asked again", topic=self._settings.topic)
            self._why = ""
        return self._found(verdict)

    def _found(self, verdict: PreCallVerdict) -> Found:
        until = self._known.clock() + min(verdict.seconds, self._settings.longest)
        if not verdict.allowed:
            return Found(None, until, "the service that decides does not let it in")
        caller = Caller(
            verdict.subject,
            self._settings.issuer,
            frozenset(filter(is_scope, verdict.scopes)),
            verdict.claims,
            frozenset(verdict.roles),
            verdict.tenant,
        )
        try:
            return Found(VerifiedCaller(caller, until, "pre-call"), until)
        except ValueError:
            return Found(None, until, "its scopes and claims are too large to travel")
