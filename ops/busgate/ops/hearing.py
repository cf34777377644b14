"""What `busgate call` hears: the reply, or a problem document for everything else that can become of a call."""

import time
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from busgate.bus import Bus, Ids, Reply
from busgate.bus.wire import TYPE_REPLY, new_context
from busgate.contracts import CallFailed
from busgate.contracts.answer import AnswerReader
from busgate.contracts.catalog import AnyCall
from busgate.contracts.failure import BAD_REPLY, TYPE_PREFIX, WORKER_KINDS

from .asking import Question

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Heard:
    """How a call ended. Times are milliseconds; None where nobody answered."""

    call: str
    topic: str
    answered: bool
    body: Any
    took_ms: float
    service: str | None = None
    queued_ms: float | None = None
    ran_ms: int | None = None

    def document(self) -> Json:
        """All of it, for programs."""
        return {
            "call": self.call,
            "topic": self.topic,
            "type": "reply" if self.answered else "problem",
            "service": self.service,
            "took_ms": round(self.took_ms, 1),
            "queued_ms": None if self.queued_ms is None else round(self.queued_ms, 1),
            "ran_ms": self.ran_ms,
            "body": self.body,
        }


async def hear(bus: Bus, asked: Question) -> Heard:
    """Send a call and wait until it ends, one way or the other."""
    context = new_context(Ids(), b"" if asked.caller is None else asked.caller.to_json())
    endpoint = bus.endpoint(asked.topic, timeout=asked.timeout)
    call_id = context.call_id.decode()
    started = time.perf_counter()
    try:
        reply = await endpoint.call(asked.body, context, asked.timeout)
    except CallFailed as failure:
        took_ms = (time.perf_counter() - started) * 1000
        return Heard(call_id, asked.topic, answered=False, body=failure.document(), took_ms=took_ms)
    took_ms = (time.perf_counter() - started) * 1000
    answered, body = _read(reply, asked.contract)
    return Heard(call_id, asked.topic, answered, body, took_ms, reply.service, reply.queued_ms, reply.ran_ms)


def _read(reply: Reply, contract: AnyCall | None) -> tuple[bool, Any]:
    """Whether it is a reply, and its document; one that the contract does not allow is a problem."""
    try:
        if contract is not None:
            answers = AnswerReader(contract)
            if reply.type == TYPE_REPLY:
                answers.reply(reply.body, service=reply.service)
            else:
                return False, answers.problem(reply.body, service=reply.service).document()
        document = from_json(reply.body)
    except CallFailed as failure:
        return False, failure.document()
    except ValueError:
        return False, CallFailed(BAD_REPLY, "the reply is not JSON", service=reply.service).document()
    if reply.type == TYPE_REPLY:
        return True, document
    return False, _problem(document, reply.service)


def _problem(document: Any, service: str) -> Json:
    """A problem of a contract that we do not know: ours by our table, any other as its service wrote it."""
    kind = document.get("type") if isinstance(document, dict) else None
    if isinstance(kind, str) and kind in WORKER_KINDS:
        detail = document.get("detail")
        return CallFailed(WORKER_KINDS[kind], detail if isinstance(detail, str) else None, service=service).document()
    if not isinstance(kind, str) or kind.startswith(TYPE_PREFIX):
        return CallFailed(BAD_REPLY, "the problem cannot be read", service=service).document()
    return dict(document)
