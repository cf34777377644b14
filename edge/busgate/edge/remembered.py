"""What others said of credentials, remembered for as long as they say; one question for each at a time."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from busgate.contracts import FailureKind

from .later import Later
from .refusal import Refusal
from .verified import CredentialRefused, VerifiedCaller

RETRY = (("Retry-After", "1"),)
"""For requests whose credential nobody can judge now."""

REMEMBERED = 10_000
"""Good credentials in memory, about 2 kB each. As many that are not good, of 100 bytes each."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """What came out about a credential.

    Args:
        caller: who it is; None where it proves nothing.
        until: epoch seconds, until when not to ask again.
        why: for the record, where it proves nothing.
    """

    caller: VerifiedCaller | None
    until: float
    why: str = ""


Question = Callable[[], Awaitable[Found]]


class Remembered:
    """Asks about credentials, each by a key that is a hash of it.

    Args:
        at_once: questions under way at a time.
        unavailable: what a request is refused as when there are more.
        clock: epoch seconds.

    Attributes:
        asked: questions that were put.
        refused: requests that were refused because too many questions were under way.
    """

    def __init__(self, *, at_once: int, unavailable: FailureKind, clock: Callable[[], float] = time.time) -> None:
        self.asked = self.refused = 0
        self.clock = clock
        self._at_once = at_once
        self._unavailable = unavailable
        self._good: OrderedDict[bytes, tuple[VerifiedCaller, float]] = OrderedDict()
        self._bad: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._questions: dict[bytes, asyncio.Task[Found]] = {}

    def __len__(self) -> int:
        """How many good credentials are remembered."""
        return len(self._good)

    def find(self, key: bytes, question: Question) -> VerifiedCaller | Awaitable[VerifiedCaller]:
        """Who presents the credential of this key; at once where that is remembered.

        Raises:
            CredentialRefused: it proves nothing.
            Refusal: more questions than may be.
            Exception: what the question raises; that is not remembered.
        """
        now = self.clock()
        good = self._good.get(key)
        if good is not None and good[1] > now:
            self._good.move_to_end(key)
            return good[0]
        bad = self._bad.get(key)
        if bad is not None and bad[1] > now:
            raise CredentialRefused(f"{bad[0]}, as was said a moment ago")
        return Later(partial(self._wait, key, question))

    async def close(self) -> None:
        """Ask no more."""
        tasks = list(self._questions.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait(self, key: bytes, question: Question) -> VerifiedCaller:
        task = self._questions.get(key)
        if task is None:
            if len(self._questions) >= self._at_once:
                self.refused += 1
                raise Refusal(self._unavailable, headers=RETRY)
            task = self._questions[key] = asyncio.create_task(self._ask(key, question))
            task.add_done_callback(lambda done: self._answered(key, done))
        found = await asyncio.shield(task)  # whoever hangs up does not take the answer from the others
        if found.caller is None:
            raise CredentialRefused(found.why)
        return found.caller

    async def _ask(self, key: bytes, question: Question) -> Found:
        self.asked += 1
        found = await question()
        if found.caller is not None:
            _keep(self._good, key, (found.caller, found.until))
        else:
            _keep(self._bad, key, (found.why, found.until))
        return found

    def _answered(self, key: bytes, task: "asyncio.Task[Found]") -> None:
        del self._questions[key]
        if not task.cancelled():
            task.exception()  # whoever waits has it; perhaps nobody does any more


def _keep(known: OrderedDict[bytes, T], key: bytes, value: T) -> None:
    known.pop(key, None)
    while len(known) >= REMEMBERED:
        known.popitem(last=False)
    known[key] = value
