"""What every check works with: the probe, the requests, the contract if it is known, and what a good answer is."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from pydantic import ValidationError

from busgate.bus.wire import TYPE_PROBLEM, TYPE_REPLY
from busgate.contracts import CallFailed
from busgate.contracts.answer import AnswerReader
from busgate.contracts.catalog import AnyCall
from busgate.contracts.codec import explain, reader
from busgate.contracts.failure import TYPE_PREFIX

from .letters import Letter
from .probe import Answer, Probe, Sent

REPLY, PROBLEM = TYPE_REPLY.decode(), TYPE_PROBLEM.decode()


class Failed(Exception):  # noqa: N818 - a verdict
    """The worker did not do what the page says; the text is what it did instead."""


class Unseen(Exception):  # noqa: N818 - a verdict
    """A check that could not be made, and why."""


class Trial:
    """The trial of one worker.

    Args:
        probe: the way to it.
        requests: bodies that it answers, at least one.
        contract: of the topic, None where it is not known.
        reruns: whether it runs redelivered calls; None where it is not known.
        timeout: seconds for an answer.
        drain: seconds for a person to stop the worker; None: it is not stopped.
        tell: shows a line to that person.
    """

    def __init__(
        self,
        probe: Probe,
        requests: Sequence[bytes],
        *,
        contract: AnyCall | None,
        reruns: bool | None,
        timeout: float,
        drain: float | None,
        tell: Callable[[str], None],
    ) -> None:
        self.probe = probe
        self.requests = requests
        self.reruns = reruns
        self.timeout = timeout
        self.drain = drain
        self.tell = tell
        self.service = ""
        self.dropped: list[Sent] = []
        """Messages that are no calls, to look at once more at the end."""
        self._next = cycle(requests)
        self._answers = AnswerReader(contract) if contract else None
        self._read_reply = reader(contract.reply, strict=True) if contract else None

    def call(self, **changes: Any) -> Letter:
        """A good call, with the next of the requests."""
        return self.probe.call(next(self._next), **changes)

    def call_within(self, seconds: float) -> Letter:
        """A good call with another budget than usual."""
        return self.probe.call(next(self._next), budget=seconds)

    async def ask(self, letter: Letter) -> Answer:
        """Send a letter that must be answered, by whatever it is."""
        return await self.answer(await self.probe.send(letter))

    async def ask_as_redelivered(self, letter: Letter) -> Answer:
        """The same, as a delivery that was made before."""
        [sent] = await self.probe.send_as_redelivered(letter)
        return await self.answer(sent)

    async def answer(self, sent: Sent) -> Answer:
        """The answer to what was sent. Raises Failed when there is none."""
        answer = await sent.answer(self.timeout)
        if answer is None:
            raise Failed(f"no answer within {self.timeout:g} s")
        return answer

    async def ask_well(self, letter: Letter) -> Answer:
        """Send a letter that must be answered well."""
        answer = await self.ask(letter)
        self.must_be_good(answer)
        return answer

    def must_be_good(self, answer: Answer) -> None:
        """Raise Failed unless the answer is a reply or a declared problem, as the edge would judge it."""
        if answer.type == REPLY:
            self._must_be_the_reply(answer)
        elif answer.type == PROBLEM:
            self._must_be_declared(answer)
        else:
            raise Failed(f"the type of the answer is {answer.type!r}, not reply or problem")

    def _must_be_the_reply(self, answer: Answer) -> None:
        if self._read_reply is not None:
            try:
                self._read_reply(answer.body)
            except ValidationError as error:
                raise Failed(f"the reply does not match the contract: {explain(error)}") from None

    def _must_be_declared(self, answer: Answer) -> None:
        kind = answer.problem
        if kind is None:
            raise Failed("the problem is not a JSON object")
        if self._answers is not None:
            found = self._answers.problem(answer.body)
            if isinstance(found, CallFailed):
                raise Failed(f"answered {kind}: {found.detail or found.kind.title}")
        elif kind.startswith(TYPE_PREFIX):
            raise Failed(f"answered {kind}")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that the page asks for, and how to see whether the worker does it."""

    name: str
    run: Callable[[Trial], Awaitable[str | None]]
    """Raises Failed or Unseen; what it returns is worth knowing where all is well."""
