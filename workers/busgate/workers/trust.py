"""Who services believe: the public keys of the edge, kept up to date, and the check of each call by them.

It needs cryptography; it is imported only where a service says trust="verified".
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any, Self

import structlog

from busgate.bus import Delivery
from busgate.bus.signed import SignedCaller, UnfitKeyError, Unverified, Verifier, digest, public_keys
from busgate.contracts import Call, FailureKind
from busgate.contracts.failure import CALLER_UNVERIFIED

from .jwks import FetchError, fetch
from .trust_settings import TrustSettings

log = structlog.stdlib.get_logger("busgate.workers")

FIRST_RETRY = 1.0
"""Seconds to the next look where there are no keys yet, or a call names one that is not known."""


class Trust:
    """The keys of one worker process. Use it as a context manager: it looks for new ones while it is open.

    Args:
        settings: where the keys are.

    Raises:
        UnfitKeyError: they stand in the settings, and are none.

    `looks` and `failures` count the looks at the file or URL.
    """

    def __init__(self, settings: TrustSettings) -> None:
        self.looks = 0
        self.failures = 0
        self.verifier = Verifier({}, leeway=settings.leeway)
        self._settings = settings
        self._tls = settings.tls()
        self._text = b""
        self._told = ""
        self._wanted = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        if settings.jwks is not None:
            self._take(settings.jwks.encode())

    @property
    def unready(self) -> str | None:
        """Why no caller can be verified now."""
        return None if self.verifier.kids else f"no keys of the edge: {self._told or 'not looked yet'}"

    def gate(self, contract: Call[Any, Any], answers: "Counter[str]") -> "Gate":
        """The check of one contract's calls, which counts in `answers` what it refuses."""
        return Gate(contract, self.verifier, unknown_key=self.want, refused=answers)

    def want(self) -> None:
        """A call names a key that is not known: look soon."""
        self._wanted.set()

    async def look(self) -> None:
        """Look at the file or URL once. What cannot be used changes nothing, and is told once."""
        self.looks += 1
        try:
            self._take(await self._read())
            self._told = ""
        except (FetchError, UnfitKeyError, OSError) as error:
            self._failed(str(error))

    async def __aenter__(self) -> Self:
        if self._settings.jwks is None:
            await self.look()
            self._looking = asyncio.create_task(self._look_on(), name="keys of the edge")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(FIRST_RETRY)  # at least, so that a flood of unknown keys costs the edge little
            if self.verifier.kids:
                try:
                    async with asyncio.timeout(self._settings.refresh):
                        await self._wanted.wait()
                except TimeoutError:
                    pass  # nobody asked: it is time anyway
            self._wanted.clear()
            try:
                await self.look()
            except Exception:  # a bug must cost this look, not all later ones
                log.exception("the keys of the edge could not be looked at")

    async def _read(self) -> bytes:
        if self._settings.jwks_url is not None:
            return await fetch(self._settings.jwks_url, self._tls)
        assert self._settings.jwks_file is not None
        return await asyncio.to_thread(Path(self._settings.jwks_file).read_bytes)

    def _failed(self, why: str) -> None:
        self.failures += 1
        if why != self._told:  # once, however long it lasts
            self._told = why
            log.error("cannot have the keys of the edge", error=why, kept=len(self.verifier.kids))

    def _take(self, text: bytes) -> None:
        if text == self._text:
            return  # what is remembered stays so
        keys = public_keys(text)
        self._text = text
        self.verifier.replace_keys(keys)
        log.info("keys of the edge", kids=self.verifier.kids)


class Gate:
    """Checks each call of one contract: who calls is who the edge says, and nobody else.

    Args:
        contract: what is called.
        verifier: by which keys.
        unknown_key: called when a key is not known.
        refused: counts what it refuses, by the name of the failure.

    `reasons` counts why.
    """

    def __init__(
        self,
        contract: Call[Any, Any],
        verifier: Verifier,
        *,
        unknown_key: Callable[[], None],
        refused: "Counter[str]",
    ) -> None:
        self.reasons: Counter[str] = Counter()
        self._refused = refused
        self._contract = contract
        self._verify = verifier.verify
        self._unknown_key = unknown_key
        self._own = contract.audience
        self._delegates = frozenset(contract.delegates)

    def __call__(self, delivery: Delivery) -> FailureKind | None:
        """Let a call through, with its `caller` set; or the kind of failure that it is answered with."""
        context = delivery.context
        try:
            if context.jws:
                proved = self._verify(context.jws, context.caller, time())
                if proved.audience != self._own or proved.message or self._contract.bound:
                    self._check(proved, delivery)
                delivery.caller = proved.caller
            elif context.caller or not self._contract.public:
                raise Unverified("unsigned", "it is not signed; has the edge its [edge.signing]?")
        except Unverified as why:
            return self._refuse(why, delivery)
        return None

    def _check(self, proved: SignedCaller, delivery: Delivery) -> None:
        """For whom it was made, and for which message. Raises Unverified."""
        contract, context = self._contract, delivery.context
        if proved.audience != self._own:
            if proved.audience not in self._delegates:
                raise Unverified(
                    "audience",
                    f"it was made for {proved.audience!r}, which may not call this for others; "
                    f"if it shall: delegates={{{proved.audience!r}}} in the contract",
                )
            return
        this = digest(contract.topic, context.call_id, delivery.message.body) if contract.bound else ""
        if proved.message != this:
            raise Unverified("message", "it is good for one message, and this is another, or this needs such a one")

    def _refuse(self, why: Unverified, delivery: Delivery) -> FailureKind:
        if why.reason == "unknown-key":
            self._unknown_key()
        self._refused[CALLER_UNVERIFIED.name] += 1
        self.reasons[why.reason] += 1
        if self.reasons[why.reason] == 1:
            context = delivery.context
            log.error(
                "refused a call: who calls cannot be verified",
                why=str(why),
                topic=self._contract.topic,
                call=context.call_id.decode(),
                via=context.via.decode()[:64],
            )
        return CALLER_UNVERIFIED
