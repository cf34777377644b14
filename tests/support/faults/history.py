"""What callers saw, what workers did, and the invariants over both.

Their names, I1 and so on, are those of docs/reliability.md.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from busgate.bus.wire import MARGIN_MS
from busgate.contracts import FailureKind, failure
from busgate.edge import refusal

from .contracts import CATALOG, RERUN
from .services import SECRET

CLOSED, HUNG_UP = 0, -1
"""In place of a status: the connection was closed without an answer; the caller went away itself."""

LEEWAY = MARGIN_MS / 1000
"""Seconds between the deadline that workers are told and the answer of the edge: who starts within is not late."""

KINDS = {
    kind.type: kind for module in (failure, refusal) for kind in vars(module).values() if isinstance(kind, FailureKind)
}
DECLARED = {problem.type: problem for call in CATALOG for problem in call.errors}
INSIDE = re.compile(rf"Traceback|\.py\b|{SECRET}|amqp://|127\.0\.0\.1")
"""What must not be in an answer."""


@dataclass(slots=True)
class Answer:
    """How one request ended."""

    nonce: str
    topic: str
    caller: str
    sent: float
    took: float
    status: int
    body: dict[str, Any]
    headers: dict[str, str]
    text: str = field(repr=False, default="")
    refused: int | None = None
    """The status that a request must have that was made to be refused."""

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def name(self) -> str:
        """Of the kind of failure; empty for success."""
        return str(self.body.get("type", "")).removeprefix(failure.TYPE_PREFIX) if not self.good else ""

    @property
    def outcome(self) -> str:
        return str(self.body.get("outcome", "")) if not self.good else "executed"


@dataclass(frozen=True, slots=True)
class Execution:
    """A handler that started."""

    topic: str
    nonce: str
    call: str
    pid: int
    at: float
    deadline: float
    redelivered: bool


class History:
    """All requests of one test, and the log of its workers."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.asked: Counter[str] = Counter()
        self.answers: list[Answer] = []
        self.may_be_closed = False
        """Whether a connection may be closed without an answer: where the test kills an edge."""

    def executions(self, nonce: str | None = None) -> list[Execution]:
        return [each for each in self._events("start") if nonce in (None, each.nonce)]

    def _events(self, name: str) -> Iterator[Execution]:
        if not self.log.exists():
            return
        whole_lines, _, _ = self.log.read_text().rpartition("\n")  # a worker may be writing the last one
        for line in whole_lines.splitlines():
            event = json.loads(line)
            if event.pop("event") == name:
                yield Execution(**event)

    def since(self, moment: float) -> list[Answer]:
        """What was asked after a moment and should have succeeded."""
        return [each for each in self.answers if each.sent >= moment and each.refused is None]

    def recovery(self, moment: float) -> float:
        """Seconds from a moment to the end of the last request that failed."""
        bad = [each.sent + each.took for each in self.answers if each.refused is None and not each.good]
        return round(max([moment, *bad]) - moment, 2)

    def ended_since(self, moment: float) -> list[Answer]:
        """What was answered after a moment and should have succeeded."""
        return [each for each in self.answers if each.sent + each.took >= moment and each.refused is None]

    def violations(self) -> list[str]:
        """Every invariant that does not hold; none is what a test wants."""
        starts = Counter(each.nonce for each in self._events("start"))
        found = [*self._one_answer_each(), *self._late_starts()]
        for answer in self.answers:
            if answer.status > 0:
                found += [f"{why}: {answer}" for why in _faults(answer, starts[answer.nonce])]
        found += [f"executed {count} times: {nonce}" for nonce, count in self._reruns().items() if count > 1]
        return found

    def _one_answer_each(self) -> Iterable[str]:
        answered = Counter(each.nonce for each in self.answers)
        if answered != self.asked:
            yield f"I1: asked but not answered once: {list((self.asked - answered) | (answered - self.asked))[:5]}"
        if not self.may_be_closed:
            yield from (f"I1: closed without an answer: {each}" for each in self.answers if each.status == CLOSED)

    def _late_starts(self) -> Iterable[str]:
        return (f"I4: started late: {each}" for each in self._events("start") if each.at > each.deadline + LEEWAY)

    def _reruns(self) -> Counter[str]:
        return Counter(each.nonce for each in self._events("start") if each.topic not in RERUN)


def _faults(answer: Answer, starts: int) -> Iterable[str]:
    """What is wrong with an answer."""
    if answer.good:
        told = answer.body.get("nonce"), answer.body.get("caller")
        if told != (answer.nonce, answer.caller):
            yield "I3: the answer to another"
        if not starts:
            yield "a success that nobody executed"
    else:
        yield from _problem_faults(answer)
    if answer.outcome == "not_executed" and starts:
        yield "I7: said not to be executed, and was"
    if answer.outcome == "executed" and not starts:
        yield "said to be executed, and was not"
    if answer.refused not in (None, answer.status) and not _refused_before_it_was_read(answer):
        yield f"I12: not {answer.refused}"


def _refused_before_it_was_read(answer: Answer) -> bool:
    """Where every call is refused at once, a body is not even looked at."""
    return answer.refused in (400, 415, 422) and (answer.status, answer.outcome) == (503, "not_executed")


def _problem_faults(answer: Answer) -> Iterable[str]:
    if answer.headers.get("content-type") != "application/problem+json":
        yield "I9: not a problem document"
        return
    kind = answer.body.get("type", "")
    known = KINDS.get(kind) or DECLARED.get(kind)
    if known is None or known.status != answer.status or answer.body.get("status") != answer.status:
        yield "I9: not of the documented set"
    if isinstance(known, FailureKind) and known.outcome != answer.outcome:
        yield "I9: another outcome than documented"
    if answer.body.get("instance") != f"urn:busgate:request:{answer.headers.get('x-request-id')}":
        yield "I9: without the id of the request"
    if INSIDE.search(answer.text):
        yield "I9: tells what is inside"
    if answer.status == 503 and "retry-after" not in answer.headers:
        yield "503 without Retry-After"
