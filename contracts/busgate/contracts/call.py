"""A call: the request/reply contract that both sides import and everything else is derived from."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel

from .http import Route
from .problem import Problem

RequestT = TypeVar("RequestT", bound=BaseModel)
ReplyT = TypeVar("ReplyT", bound=BaseModel)
Redelivery = Literal["run", "refuse"]

TOPIC_LIMIT = 200
"""Bytes of a topic. A queue name and a routing key hold 255 (AMQP shortstr); the rest is for `@variant`."""

_TOPIC = re.compile(r"[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*\.v[0-9]+")


class ContractError(ValueError):
    """A contract, or two that do not go together; the message names the topic and the cure."""


@dataclass(frozen=True, slots=True, eq=False)
class Call(Generic[RequestT, ReplyT]):
    """A contract of one call. A value without behaviour: compare by identity, share by import.

    Args:
        topic: lower-case dotted words that end in a version, `shop.orders.place.v1`; names the queue too.
        http: the route, from `http.get`, `http.post`, ...
        request: the model of the request; its fields come from path, query, headers and body.
        reply: the model of the reply; nothing that it does not declare leaves the house.
        errors: the problems that a handler may raise.
        scopes: all of them must be granted to the caller.
        timeout: the default budget of a call, seconds.
        public: no authentication.
        redelivery: what a worker does with a call that was delivered before and may have run: `run` it again
            (the default for GET, PUT and DELETE) or `refuse` it (the default for POST and PATCH).
        prefetch: calls that one worker process takes at a time; None is the worker's default (32 for
            `async def` handlers, 8 for plain ones).
        max_body: bytes of a request body that the edge accepts.
        summary: one line for the API documentation.
        description: CommonMark for the API documentation.

    Raises:
        ContractError: the values do not make a contract.
    """

    topic: str
    http: Route
    _: KW_ONLY
    request: type[RequestT]
    reply: type[ReplyT]
    errors: Sequence[type[Problem]] = ()
    scopes: Iterable[str] = frozenset()
    timeout: float = 5.0
    public: bool = False
    redelivery: Redelivery | None = None
    prefetch: int | None = None
    max_body: int = 1024 * 1024
    summary: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        if not _TOPIC.fullmatch(self.topic) or len(self.topic) > TOPIC_LIMIT:
            raise ContractError(
                f"topic {self.topic!r}: lower-case dotted words that end in a version, "
                f"at most {TOPIC_LIMIT} bytes, like shop.orders.place.v1"
            )
        self._refuse(isinstance(self.scopes, str), "scopes is a set of strings, not a string")
        self._refuse(isinstance(self.scopes, str), "scopes is a set of strings, not a string")
        object.__setattr__(self, "scopes", frozenset(self.scopes))
        object.__setattr__(self, "errors", tuple(self.errors))
        self._refuse(not 0.05 <= self.timeout <= 300, f"timeout {self.timeout} s is not within 0.05 and 300 s")
        self._refuse(self.public and bool(self.scopes), "a public contract cannot ask for scopes")
        self._refuse(self.prefetch is not None and not 1 <= self.prefetch <= 65535, "prefetch is 1 to 65535")
        self._refuse(not 0 < self.max_body <= 16 * 1024 * 1024, "max_body is 1 byte to 16 MiB")
        self._refuse(not all(map(_is_problem, self.errors)), "errors are subclasses of Problem")
        types = [error.type for error in self.errors]
        self._refuse(len(set(types)) != len(types), "two of its errors have one type")

    def _refuse(self, condition: bool, why: str) -> None:
        if condition:
            raise ContractError(f"contract {self.topic}: {why}")

    @property
    def reruns(self) -> bool:
        """Whether a redelivered call may run a second time."""
        if self.redelivery is not None:
            return self.redelivery == "run"
        return self.http.method in ("GET", "PUT", "DELETE")

    def __repr__(self) -> str:
        return f"<Call {self.topic}: {self.http.method} {self.http.path}>"


def _is_problem(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Problem) and value is not Problem
