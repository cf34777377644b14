"""From copies of messages to calls: each request with its reply, or with the fact that none came."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

from busgate.contracts.failure import BAD_REPLY

from .reply_fault import reply_fault
from .wire import TYPE_CALL, TYPE_PROBLEM, TYPE_REFUSED, TYPE_REPLY, Message, caller_of, is_traceparent

LATE = 1.0
"""Seconds past its time after which a call counts as unanswered."""
LONGEST = 3600.0
"""Seconds for which a call is remembered, whatever time it says that it has."""
MOST_WAITING = 50_000
MOST_BYTES = 64 * 1024 * 1024
"""Of the calls that wait for their reply. Of what is beyond either bound, the oldest is forgotten."""
CALL_BYTES = 2048
"""What is kept of a call beside its body, at most."""

ANSWERED = 1_000
"""Calls whose reply was seen that are remembered, in case who called does not take it."""

Result = Literal["reply", "problem", "none", "unseen", "refused"]
"""`none`: no reply came. `unseen`: one may have come, but where this tap does not hear it. `refused`: the reply that
was seen before is not taken by who called."""
Heard = Literal["yes", "perhaps", "no"]
"""Whether the reply to a call is copied too."""


@dataclass(frozen=True, slots=True)
class TappedCall:
    """One call as a tap saw it. Times in milliseconds; None where nothing tells them.

    `queue_ms` is from the sender's clock to the worker's, `total_ms` by the clock of the tap alone.
    """

    topic: str
    call: str
    sent_ms: int
    source: str
    """The process that sent it."""
    caller: str
    """The subject of who was authenticated; empty for nobody."""
    trace: str
    """The id that it shares with the calls that it leads to, and with the one that led to it; empty without."""
    result: Result
    service: str = ""
    problem: str = ""
    status: int | None = None
    """Of a problem; a reply has none on the bus."""
    queue_ms: float | None = None
    ran_ms: float | None = None
    total_ms: float | None = None
    request: bytes = b""
    reply: bytes = b""

    def document(self) -> dict[str, object]:
        """All but the bodies, as JSON has it: they hold secrets, and whoever shows them masks them first."""
        return {name: getattr(self, name) for name in _SHOWN}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "TappedCall":
        """The call of such a document."""
        return cls(**{name: document[name] for name in _SHOWN if name in document})


_SHOWN = [field.name for field in fields(TappedCall) if field.name not in ("request", "reply")]


class _Waiting(NamedTuple):
    request: dict[str, Any]
    seen: float
    until: float
    heard: Heard
    bytes: int


class Pairing:
    """Pairs what it sees. Nothing of a message is believed: what cannot be read is left out, never raised.

    Times are in seconds of any steady clock.

    Args:
        emit: gets each call, when its reply was seen or can no longer come.
        hears: of replies to this address; asked when the call is seen.
        since: epoch milliseconds; of a call that a worker received before, no copy is missed.
    """

    def __init__(
        self,
        emit: Callable[[TappedCall], None],
        hears: Callable[[bytes], Heard] = lambda _: "yes",
        since: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._emit = emit
        self._hears = hears
        self._since = since
        self._waiting: dict[bytes, _Waiting] = {}
        self._bytes = 0
        self._answered: dict[bytes, dict[str, Any]] = {}
        """Calls by their own ids, without bodies, the oldest first."""
        self.unpaired = 0
        """Replies whose call was not seen: its copy was dropped, it waited before, or it is of another tap's topics."""
        self.dropped = 0
        """Calls that were forgotten before their reply came: too many waited, too large, or for too long."""

    def see(self, message: Message, now: float) -> None:
        """Take in a copy."""
        if message.type == TYPE_CALL:
            self._wait_for(message, now)
        elif message.type == TYPE_REFUSED:
            self._take_back(message)
        elif (waiting := self._forget(message.correlation_id)) is not None:
            answered = _answered(waiting.request, message, (now - waiting.seen) * 1000)
            self._emit(answered)
            self._remember(waiting.request | {"request": b"", "service": answered.service})
        elif message.type in (TYPE_REPLY, TYPE_PROBLEM):
            self.unpaired += _integer(message, "received", math.inf) >= self._since()

    def give_up(self, now: float) -> None:
        """Emit the calls whose time is long over."""
        for key in [key for key, waiting in self._waiting.items() if waiting.until < now]:
            waiting = self._waiting[key]
            self._forget(key)
            if waiting.until - waiting.seen >= LONGEST:
                self.dropped += 1
            else:
                self._emit(TappedCall(**waiting.request, result="none" if waiting.heard == "yes" else "unseen"))

    def _wait_for(self, call: Message, now: float) -> None:
        self._forget(call.correlation_id)
        request, heard, budget = _request(call), self._hears(call.reply_to), _budget_ms(call) / 1000
        if heard == "no":
            self._emit(TappedCall(**request, result="unseen"))
            return
        until = now + min(budget + LATE if budget else LONGEST, LONGEST)
        size = CALL_BYTES + len(call.body)
        self._waiting[call.correlation_id] = _Waiting(request, now, until, heard, size)
        self._bytes += size
        while self._bytes > MOST_BYTES or len(self._waiting) > MOST_WAITING:
            self._forget(next(iter(self._waiting)))
            self.dropped += 1

    def _take_back(self, refused: Message) -> None:
        """A reply that was seen is not taken by who called: then the call comes out once more."""
        call = self._answered.pop(refused.correlation_id, None)
        if call is not None:
            problem, status = _problem(refused.body)
            self._emit(TappedCall(**call, result="refused", problem=problem, status=status))

    def _remember(self, call: dict[str, Any]) -> None:
        self._answered[call["call"].encode(errors="replace")] = call
        if len(self._answered) > ANSWERED:
            del self._answered[next(iter(self._answered))]

    def _forget(self, key: bytes) -> _Waiting | None:
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            self._bytes -= waiting.bytes
        return waiting


def _request(call: Message) -> dict[str, Any]:
    return {
        "topic": call.routing_key.decode("ascii", "replace"),
        "call": str(call.headers.get("call", ""))[:64],
        "sent_ms": _integer(call, "deadline", 0) - _budget_ms(call),
        "source": caller_of(call.reply_to)[:100],
        "caller": _subject(call.headers.get("caller")),
        "trace": _trace(call.headers.get("traceparent")),
        "request": call.body,
    }


def _answered(request: dict[str, Any], reply: Message, total_ms: float) -> TappedCall:
    received, ran = _integer(reply, "received", None), _integer(reply, "ran", None)
    problem, status = _problem(reply.body) if reply.type == TYPE_PROBLEM else ("", None)
    if reply_fault(reply) is not None:  # as who called says
        problem, status = BAD_REPLY.type, BAD_REPLY.status
    return TappedCall(
        **request,
        result="problem" if problem or reply.type == TYPE_PROBLEM else "reply",
        service=str(reply.headers.get("service", ""))[:100],
        problem=problem,
        status=status,
        queue_ms=None if received is None else max(received - request["sent_ms"], 0),
        ran_ms=ran,
        total_ms=round(total_ms, 3),
        reply=reply.body,
    )


def _budget_ms(call: Message) -> int:
    """What its sender gives it, by no clock; 0 where it does not say."""
    return int(call.expiration) if call.expiration.isdigit() and len(call.expiration) < 16 else 0


def _trace(traceparent: object) -> str:
    return str(traceparent)[3:35] if is_traceparent(traceparent) else ""


def _integer(message: Message, name: str, otherwise: Any) -> Any:
    value = message.headers.get(name)
    return value if type(value) is int else otherwise


def _subject(caller: object) -> str:
    document = _document(caller.encode() if isinstance(caller, str) else b"")
    return str(document.get("sub", ""))[:200]


def _problem(body: bytes) -> tuple[str, int | None]:
    document = _document(body)
    status = document.get("status")
    return str(document.get("type", ""))[:200], status if type(status) is int else None


def _document(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
