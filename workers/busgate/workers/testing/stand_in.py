"""Somebody else's service, played by a test: it answers what the test says and writes down what it was asked."""

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Generic, TypeAlias

from pydantic import BaseModel
from pydantic_core import to_json

from busgate.bus import Answer, CallContext, Delivery, problem
from busgate.bus.wire import TYPE_PROBLEM, TYPE_REPLY
from busgate.contracts import Call, CallFailed, FailureKind, Problem
from busgate.contracts.call import ReplyT, RequestT
from busgate.contracts.codec import reader, writer
from busgate.contracts.failure import HANDLER_CRASHED, WORKER_KINDS

NAME = "stand-in"
"""The service that its replies name."""


class Silence(Enum):
    """The type of SILENCE."""

    SILENCE = "no answer"


SILENCE: Final = Silence.SILENCE
"""As an answer: none. The call ends, by its deadline, when that comes."""

Given: TypeAlias = ReplyT | Problem | FailureKind | Silence | Callable[[RequestT], ReplyT]
"""What a stand-in can be told to answer."""


class StandIn(Generic[RequestT]):
    """Plays the service of one contract.

    Attributes:
        requests: what it was asked, in order.
    """

    def __init__(self, contract: Call[RequestT, Any], on_crash: Callable[[str, BaseException], None]) -> None:
        self.contract = contract
        self.requests: list[RequestT] = []
        self._read = reader(contract.request)
        self._write = writer(contract.reply)
        self._on_crash = on_crash
        self._next: list[Any] = []
        self._given: dict[bytes, Any] = {}

    def give(self, *answers: "Given[Any, RequestT]") -> None:
        """Answer so from now on: the first call gets the first answer, and the last answer is for all that follow.

        Raises:
            TypeError, ValueError: an answer that a service of this contract could not give.
        """
        if not answers:
            raise TypeError(f"a stand-in for {self.contract.topic} needs an answer: {_ways(self.contract)}")
        for answer in answers:
            _check(self.contract, answer)
        self._next = list(answers)

    def before_call(self, context: CallContext) -> None:
        """Choose the answer to a call. One that the bus gives is given here: raises CallFailed."""
        answer = self._next.pop(0) if len(self._next) > 1 else self._next[0]
        if isinstance(answer, FailureKind) and answer.type not in WORKER_KINDS:
            raise CallFailed(answer, "a test says so")
        self._given[context.call_id] = answer

    async def __call__(self, delivery: Delivery) -> Answer:
        """Answer a call over the bus, as a worker does."""
        request = self._read(delivery.message.body)
        self.requests.append(request)
        answer = self._given[delivery.context.call_id]
        if answer is SILENCE:
            await asyncio.Event().wait()  # until the test ends
        try:
            if callable(answer):
                answer = answer(request)
                _check(self.contract, answer)
        except Problem as raised:
            answer = raised
        except Exception as error:  # noqa: BLE001 - the test's own code; it hears of it where it made its call
            self._on_crash(delivery.context.traceparent.decode(), error)
            answer = HANDLER_CRASHED
        return self._encode(answer)

    def _encode(self, answer: Any) -> Answer:
        if isinstance(answer, Problem):
            return TYPE_PROBLEM, to_json(answer.document())
        if isinstance(answer, FailureKind):
            return problem(CallFailed(answer, "a test says so", service=NAME))
        return TYPE_REPLY, self._write(answer)


def _check(contract: Call[Any, Any], answer: object) -> None:
    if isinstance(answer, Problem) and type(answer) not in contract.errors:
        name = type(answer).__name__
        raise ValueError(f"{name} is not in the errors of {contract.topic}: its service could not raise it")
    if isinstance(answer, BaseModel) and not isinstance(answer, contract.reply):
        raise TypeError(f"{contract.topic} does not reply with {type(answer).__name__}: give {_ways(contract)}")
    if not (isinstance(answer, BaseModel | Problem | FailureKind | Silence) or callable(answer)):
        raise TypeError(f"{answer!r} is no answer of {contract.topic}: give {_ways(contract)}")
    if isinstance(answer, type):
        raise TypeError(f"{answer.__name__} is a class: give a value of it")


def _ways(contract: Call[Any, Any]) -> str:
    model = contract.reply.__name__
    return f"a {model}, a problem, a FailureKind, SILENCE, or a function of the request that returns a {model}"
