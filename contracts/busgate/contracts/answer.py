"""What a worker answered, read by its contract: the reply, a problem that it declares, or a failure it names."""

from typing import Generic

from pydantic import ValidationError
from pydantic_core import from_json

from .call import Call, ReplyT, RequestT
from .codec import explain, reader
from .failure import BAD_REPLY, WORKER_KINDS, CallFailed
from .problem import Problem


class AnswerReader(Generic[ReplyT]):
    """Reads the answers to one contract; made once and kept."""

    __slots__ = ("_problems", "_reply")

    def __init__(self, contract: Call[RequestT, ReplyT]) -> None:
        self._reply = reader(contract.reply)
        self._problems = {problem.type: problem for problem in contract.errors}

    def reply(self, body: bytes, *, service: str | None = None) -> ReplyT:
        """The model in the body of a reply; a newer worker may say more than it has fields.

        Raises:
            CallFailed: BAD_REPLY, where it does not match the contract.
        """
        try:
            return self._reply(body)
        except ValidationError as error:
            raise CallFailed(BAD_REPLY, explain(error), service=service) from None

    def problem(self, body: bytes, *, service: str | None = None) -> Problem | CallFailed:
        """What the body of a problem says; not raised, because who asks has more to say of it.

        A declared one is read through its class, so that nothing undeclared is in it. A failure that the worker
        names has the status and outcome of our table, whatever the document says. All else is BAD_REPLY.
        """
        try:
            document = from_json(body)
            kind, declared = document["type"], self._problems.get(document["type"])
            if declared is not None:
                return declared.from_document(document)
        except (ValueError, TypeError, KeyError):
            return CallFailed(BAD_REPLY, "the problem cannot be read", service=service)
        if kind not in WORKER_KINDS:
            return CallFailed(BAD_REPLY, "the problem is not one that the contract declares", service=service)
        detail, behind = document.get("detail"), document.get("service")
        return CallFailed(
            WORKER_KINDS[kind],
            detail if isinstance(detail, str) else None,
            service=behind if isinstance(behind, str) else service,
        )
