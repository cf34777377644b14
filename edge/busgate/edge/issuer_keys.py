"""The keys that issuers publish at URLs: fetched at start, looked at again in time, kept while a look fails.

One look at a time for each URL, whoever asks for it. A token with an unknown `kid` may ask, at most every 30 s, and
waits for the answer; so a flood of them costs the issuer two requests a minute and everyone else nothing.
"""

import asyncio
import math
import random
from collections.abc import Callable, Iterable
from functools import partial

import structlog

from .issuers import IssuerSettings, KeySettings
from .jwks import Answer, fetch
from .keys import Key, KeySet, UnfitKeyError, jwks_keys
from .outbound import TIMEOUT, FetchError
from .refusal import KEYS_UNAVAILABLE, Refusal
from .tokens import TokenVerifier

log = structlog.stdlib.get_logger("busgate.edge")

COOLDOWN = 30.0
"""Seconds from the start of one look to the next, but for those after a start without keys."""
FIRST_RETRY = 1.0
"""Seconds to the second look where the first found nothing; each one more waits twice as long, up to COOLDOWN."""
PATIENCE = TIMEOUT + 1.0
"""Seconds that anything waits for a look."""


class IssuerKeys:
    """The keys of all issuers that publish them. Tells the verifier of each change.

    Args:
        issuers: those without a URL are left alone.
        verifier: of the same issuers.
    """

    def __init__(self, issuers: Iterable[IssuerSettings], verifier: TokenVerifier) -> None:
        self._verifier = verifier
        self._configured: dict[str, list[Key]] = {}
        self._sources: dict[str, list[KeySource]] = {}
        for issuer in issuers:
            name = issuer.issuer
            self._configured[name] = list(issuer.key_set())
            self._sources[name] = [
                KeySource(name, settings, partial(self._changed, name))
                for settings in issuer.keys
                if settings.jwks_url is not None
            ]

    @property
    def sources(self) -> list["KeySource"]:
        """One for each URL."""
        return [source for sources in self._sources.values() for source in sources]

    @property
    def unready(self) -> str | None:
        """Why no token at all can be verified; None where one can be, or none needs to."""
        if not self._sources or any(self._configured.values()) or any(source.keys for source in self.sources):
            return None
        return "no keys of any issuer could be fetched"

    async def start(self) -> None:
        """Look at every URL once, at most PATIENCE seconds long, and from now on again and again.

        A URL that does not answer is no reason not to start: it may be the issuer of few, and comes back by itself.
        """
        looks = [source.look() for source in self.sources]
        if looks:
            await asyncio.wait(looks, timeout=PATIENCE)

    async def renew(self, issuer: str) -> None:
        """A token of this issuer names a key that is not known: look again, where that may help, and wait for it.

        Raises:
            Refusal: KEYS_UNAVAILABLE, where keys of this issuer were never fetched: the token may well be good.
        """
        sources = self._sources[issuer]
        looks = [look for source in sources if (look := source.look_for_unknown())]
        if looks:
            await asyncio.wait(looks, timeout=PATIENCE)
        missing = [source for source in sources if not source.keys]
        if missing:
            wait = max(source.next_look_in for source in missing)
            raise Refusal(KEYS_UNAVAILABLE, headers=(("Retry-After", str(max(1, math.ceil(wait)))),))

    async def close(self) -> None:
        """Look no more."""
        await asyncio.gather(*(source.close() for source in self.sources))

    def _changed(self, name: str) -> None:
        """Let the verifier know all keys of an issuer. Raises UnfitKeyError where they do not go together."""
        fetched = [key for source in self._sources[name] for key in source.keys]
        self._verifier.replace_keys(name, KeySet([*self._configured[name], *fetched]))


class KeySource:
    """The keys at one URL.

    Args:
        issuer: whose they are.
        settings: with a `jwks_url`.
        changed: called after each change of `keys`; may raise UnfitKeyError, and then they stay as they were.

    `fetches` and `failures` count the looks; `keys` are those in use.
    """

    def __init__(self, issuer: str, settings: KeySettings, changed: Callable[[], None]) -> None:
        assert settings.jwks_url is not None
        self.issuer = issuer
        self.url = settings.jwks_url
        self.keys: list[Key] = []
        self.fetches = 0
        self.failures = 0
        self._settings = settings
        self._changed = changed
        self._tls = settings.tls()
        self._loop = asyncio.get_running_loop()
        self._began = -math.inf
        self._good: float | None = None
        self._retry = FIRST_RETRY
        self._look: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def age(self) -> float:
        """Seconds since a look succeeded."""
        return math.inf if self._good is None else self._loop.time() - self._good

    @property
    def next_look_in(self) -> float:
        """Seconds."""
        return 0.0 if self._timer is None else max(0.0, self._timer.when() - self._loop.time())

    def look(self) -> "asyncio.Task[None]":
        """Fetch the keys now. Whoever comes while that runs gets the same task; it never fails."""
        if self._look is None:
            self._began = self._loop.time()
            self._look = asyncio.create_task(self._fetch(), name=f"keys of {self.issuer}")
        return self._look

    def look_for_unknown(self) -> "asyncio.Task[None] | None":
        """The same for a key that is not known; None where the last look was too short a time ago."""
        if self._look is None and self._loop.time() - self._began < COOLDOWN:
            return None
        return self.look()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait([self._look])

    async def _fetch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.fetches += 1
        try:
            answer = await fetch(self.url, self._tls)
            # In a thread: hundreds of keys take the loop's time.
            self._take(await asyncio.to_thread(jwks_keys, answer.text, algorithms=self._settings.algorithms))
            pause = self._pause(answer)
        except (FetchError, UnfitKeyError) as error:
            pause = self._failed(error)
        except Exception as error:  # a bug must cost this look, not all later ones
            log.exception("keys could not be fetched", issuer=self.issuer)
            pause = self._failed(error)
        finally:
            self._look = None
        self._timer = self._loop.call_later(pause, self.look)

    def _take(self, keys: list[Key]) -> None:
        """Use these keys from now on. Remembered tokens are forgotten, so only where something changed."""
        if KeySet(keys) != KeySet(self.keys):
            before, self.keys = self.keys, keys
            try:
                self._changed()
            except UnfitKeyError:
                self.keys = before
                raise
            log.info("keys of an issuer", issuer=self.issuer, url=self.url, kids=[key.kid for key in keys])
        self._good = self._loop.time()
        self._retry = FIRST_RETRY

    def _pause(self, answer: Answer) -> float:
        """Seconds to the next look, a little less each time so that many edges do not look at once."""
        longest = self._settings.refresh
        fresh = longest if answer.max_age is None else min(max(answer.max_age, COOLDOWN), longest)
        return max(COOLDOWN, fresh * random.uniform(0.9, 1.0))  # noqa: S311 - jitter, not a secret

    def _failed(self, error: Exception) -> float:
        """Keep what there is, as long as it may be kept; seconds to the next look."""
        self.failures += 1
        if self.keys and self.age > self._settings.keep:
            self.keys = []
            self._changed()
        tell = log.warning if self.keys else log.error
        tell("cannot fetch the keys of an issuer", issuer=self.issuer, url=self.url, error=str(error),
             kept=len(self.keys), age=None if self._good is None else round(self.age))  # fmt: skip
        if self.keys:
            return COOLDOWN
        pause, self._retry = self._retry, min(self._retry * 2, COOLDOWN)
        return pause
