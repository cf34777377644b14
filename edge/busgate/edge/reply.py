"""From what a worker answered to what leaves the house: checked against the contract and written anew."""

from typing import Any
from urllib.parse import quote

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from busgate.bus.wire import MAX_MESSAGE
from busgate.contracts import Call, CallFailed, Problem
from busgate.contracts.answer import AnswerReader
from busgate.contracts.codec import reader
from busgate.contracts.failure import (
    BAD_REPLY,
    DRAINING,
    HANDLER_TIMEOUT,
    NESTED_FAILURE,
    NESTED_TIMEOUT,
    REDELIVERED,
    TOO_LATE,
)
from busgate.contracts.fields import json_name
from busgate.contracts.http import segments_of

from .invalid import COUNT_LIMIT, detail_of, pointer
from .json_body import is_finite

_TELLS_WHY = frozenset({TOO_LATE, REDELIVERED, DRAINING, HANDLER_TIMEOUT, NESTED_FAILURE, NESTED_TIMEOUT})
"""Failures whose detail may be passed on; the others are about what is inside the service."""
_DETAIL_LIMIT = 200


class ReplyReader:
    """Reads the replies and problems of one contract; made once, at start."""

    __slots__ = ("_answers", "_limit", "_location", "_names", "_read", "_to_json", "has_body", "status")

    def __init__(self, call: Call[Any, Any], *, limit: int = MAX_MESSAGE) -> None:
        self.status = call.http.status
        self.has_body = self.status not in (204, 205)
        self._limit = limit
        self._read = reader(call.reply, strict=True)
        self._to_json = call.reply.__pydantic_serializer__.to_json
        self._answers = AnswerReader(call)
        attributes = {json_name(name, field): name for name, field in call.reply.model_fields.items()}
        self._names = frozenset(attributes)
        template = segments_of(call.http.location) if call.http.location else []
        self._location = [(literal, attributes.get(variable, "")) for literal, variable in template]

    def reply(self, body: bytes, *, service: str | None = None) -> tuple[bytes, str | None]:
        """The body to send, and the value of `Location` where the contract has one.

        Unknown members are dropped: a newer worker may say more. Members that the worker left out are sent
        with their defaults, because the published schema of a reply says they are there.

        Raises:
            CallFailed: BAD_REPLY, where the reply is too large or does not match the contract.
        """
        if len(body) > self._limit:
            raise CallFailed(BAD_REPLY, "the reply is too large", service=service)
        try:
            model = self._read(body)
        except ValidationError as error:
            raise CallFailed(BAD_REPLY, self._mismatch(error), service=service) from None
        if not is_finite(body):
            raise CallFailed(BAD_REPLY, "a number in the reply is not finite", service=service)
        location = self._locate(model) if self._location else None
        return (self._to_json(model, by_alias=True) if self.has_body else b""), location

    def problem(self, body: bytes, *, service: str | None = None) -> Problem:
        """The problem that a handler raised, read through its class so that nothing undeclared leaves.

        Raises:
            CallFailed: of the kind that the worker named; BAD_REPLY where the contract does not declare it.
        """
        if len(body) > self._limit or not is_finite(body):
            raise CallFailed(BAD_REPLY, "the problem cannot be read", service=service)
        found = self._answers.problem(body, service=service)
        if isinstance(found, CallFailed):
            raise CallFailed(found.kind, _safe_detail(found), service=service)
        return found

    def _mismatch(self, error: ValidationError) -> str:
        """Where a reply is wrong; names of the contract only, because a reply can hold anything."""
        if error.error_count() > COUNT_LIMIT:
            return f"{error.error_count()} errors"
        first = error.errors(include_url=False, include_input=False)[0]
        names = [str(step) for step in first["loc"][:1] if step in self._names]
        return f"{detail_of(first)} (at {pointer(*names)})"

    def _locate(self, model: Any) -> str | None:
        """The template filled in; None where a value is not there or would be no segment of its own."""
        path = []
        for literal, attribute in self._location:
            if literal:
                path.append(literal)
                continue
            value = to_jsonable_python(getattr(model, attribute))
            if not isinstance(value, (str, int)) or value in ("", ".", ".."):
                return None
            path.append(quote(str(value), safe=""))
        return "/" + "/".join(path)


def _safe_detail(failure: CallFailed) -> str | None:
    """What may leave the house of the words of a worker, or of our own about it."""
    detail = failure.detail
    if failure.kind is BAD_REPLY:
        return detail
    if detail is None or failure.kind not in _TELLS_WHY:
        return None
    return detail if len(detail) <= _DETAIL_LIMIT and detail.isprintable() else None
