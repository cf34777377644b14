"""What a request needs a store to say that is not in this process: all of it in one question.

A step that needs the store leaves a Look with the exchange and goes on as if the answer were yes. It is asked for when
the last step of OneQuestion is done, or one of them refuses: so a request waits for the store once, and is told what it
would be told if each look had been asked for in its place.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from .refusal import STORE_UNAVAILABLE, Refusal
from .stores.distant import DistantStore
from .stores.jobs import Job
from .stores.store import StoreUnavailable
from .verified import CredentialRefused

if TYPE_CHECKING:
    from .exchange import Exchange, Step


class Look(Protocol):
    """What one step needs the store to say.

    Attributes:
        job: what to ask.
        proves_caller: whether nobody is known to call until it is a yes.
    """

    proves_caller: bool

    @property
    def job(self) -> Job: ...

    def told(self, exchange: "Exchange", result: Any) -> None:
        """What came of the job. Raises Refusal or CredentialRefused where it is a no."""

    def untold(self, exchange: "Exchange") -> bool:
        """The store cannot tell, whether or not the job was done. True: the request may go on."""


class OneQuestion:
    """Steps of a path whose looks are asked for together.

    Args:
        steps: in their order. They refuse a request that the store need not be asked about.
        store: that is asked.
        refuse: makes what a request is refused with whose credential the store refuses.
        unchecked: called for a request that goes on though the store cannot tell.
    """

    def __init__(
        self,
        steps: "Sequence[Step]",
        store: DistantStore,
        *,
        refuse: Callable[[], Refusal],
        unchecked: Callable[[], None],
    ) -> None:
        self._steps = steps
        self._store = store
        self._refuse = refuse
        self._unchecked = unchecked

    async def __call__(self, exchange: "Exchange") -> None:
        exchange.looks = []
        try:
            for step in self._steps:
                wait = step(exchange)
                if wait is not None:
                    await self._before(wait, exchange)
        except Exception:
            await self._settle(exchange)  # what the store refuses comes first: it was before that step
            raise
        await self._settle(exchange)

    async def _before(self, wait: Awaitable[None], exchange: "Exchange") -> None:
        """Ask the store before anybody else is asked who calls: that costs more, and others may not be flooded."""
        await self._settle(exchange)
        await wait

    async def _settle(self, exchange: "Exchange") -> None:
        looks, exchange.looks = exchange.looks, []
        if not looks:
            return
        try:
            answer = self._store.do([look.job for look in looks])
            try:
                results = await answer
            except asyncio.CancelledError:  # the client hung up; the answer is there all the same
                self._undo(exchange, looks, answer)
                raise
        except StoreUnavailable as error:
            self._do_without(exchange, looks, error)
        else:
            self._judge(exchange, looks, results)

    def _judge(self, exchange: "Exchange", looks: Sequence[Look], results: Sequence[Any]) -> None:
        for at, result in enumerate(results):  # what follows a no is not there
            try:
                looks[at].told(exchange, result)
            except CredentialRefused as error:
                exchange.caller = None
                raise self._refuse() from error
            except Refusal:
                _forget_caller(exchange, looks[at:])
                raise

    def _do_without(self, exchange: "Exchange", looks: Sequence[Look], error: StoreUnavailable) -> None:
        may_go_on = [look.untold(exchange) for look in looks]  # each hears of it
        if not all(may_go_on):
            _forget_caller(exchange, looks)
            raise Refusal(STORE_UNAVAILABLE, headers=(("Retry-After", "1"),)) from error
        self._unchecked()

    def _undo(self, exchange: "Exchange", looks: Sequence[Look], answer: "asyncio.Future[list[Any]]") -> None:
        """Nobody waits for a verdict: note what it was, so that what is held is given back."""
        with suppress(Refusal):
            error = answer.exception()
            if isinstance(error, StoreUnavailable):
                self._do_without(exchange, looks, error)
            else:
                self._judge(exchange, looks, answer.result())


def _forget_caller(exchange: "Exchange", unanswered: Sequence[Look]) -> None:
    """No record may name a caller whose credential was not looked at to its end."""
    if any(look.proves_caller for look in unanswered):
        exchange.caller = None
