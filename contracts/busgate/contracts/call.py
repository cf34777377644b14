"""A call: the request/reply contract that both sides import and everything else is derived from."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel

from .audience import audience_of, is_audience
from .example import Example
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
        schemes: how callers may prove who they are, like {"jwt", "key"}; none named is any that the edge has.
        timeout: the default budget of a call, seconds.
        public: no authentication.
        delegates: audiences like {"shop.orders"}, whose services may make this call for a caller whose signature was
            made for them. Only services with trust="verified" look at it; then without one, only the edge may call.
        bound: the signature of the caller is good for this one message, not for any of this audience; no delegates.
        redelivery: what a worker does with a call that was delivered before and may have run: `run` it again
            (the default for GET, PUT and DELETE) or `refuse` it (the default for POST and PATCH).
        prefetch: calls that one worker process takes at a time; None is the worker's default (32 for
            `async def` handlers, 8 for plain ones).
        max_body: bytes of a request body that the edge accepts.
        audit_body: audit records hold request and answer too, fields that are marked `Secret` masked.
        summary: one line for the API documentation.
        description: CommonMark for the API documentation.
        examples: requests and their answers for the API documentation; where there are none, some are made up.

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
    schemes: Iterable[str] = frozenset()
    timeout: float = 5.0
    public: bool = False
    delegates: Iterable[str] = frozenset()
    bound: bool = False
    redelivery: Redelivery | None = None
    prefetch: int | None = None
    max_body: int = 1024 * 1024
    audit_body: bool = False
    summary: str = ""
    description: str = ""
    examples: Sequence[Example] = ()

    def __post_init__(self) -> None:
        if not is_topic(self.topic):
            raise ContractError(
                f"topic {self.topic!r}: lower-case dotted words that end in a version, "
                f"at most {TOPIC_LIMIT} bytes, like shop.orders.place.v1"
            )
        for name in ("scopes", "schemes", "delegates"):
            self._refuse(isinstance(getattr(self, name), str), f"{name} is a set of strings, not a string")
            object.__setattr__(self, name, frozenset(getattr(self, name)))
        object.__setattr__(self, "errors", tuple(self.errors))
        self._refuse(not 0.05 <= self.timeout <= 300, f"timeout {self.timeout} s is not within 0.05 and 300 s")
        self._refuse(self.public and bool(self.scopes), "a public contract cannot ask for scopes")
        self._refuse(self.public and bool(self.schemes), "a public contract has no use for schemes")
        self._check_trust()
        self._refuse(self.prefetch is not None and not 1 <= self.prefetch <= 65535, "prefetch is 1 to 65535")
        self._refuse(not 0 < self.max_body <= 16 * 1024 * 1024, "max_body is 1 byte to 16 MiB")
        self._refuse(not all(map(_is_problem, self.errors)), "errors are subclasses of Problem")
        types = [error.type for error in self.errors]
        self._refuse(len(set(types)) != len(types), "two of its errors have one type")
        self._check_examples()

    def _refuse(self, condition: bool, why: str) -> None:
        if condition:
            raise ContractError(f"contract {self.topic}: {why}")

    def _check_trust(self) -> None:
        for name in sorted(self.delegates):
            self._refuse(not is_audience(name), f"delegates are audiences, like {self.audience}, not {name!r}")
        self._refuse(self.bound and bool(self.delegates), "a bound signature cannot be delegated: drop one of them")
        self._refuse(self.bound and self.public, "a public contract has no caller to bind")

    def _check_examples(self) -> None:
        object.__setattr__(self, "examples", tuple(self.examples))
        for example in self.examples:
            self._refuse(not isinstance(example, Example), f"examples are Example(...), not {example!r}")
            why = example.mismatch(self.request, self.reply, self.errors)
            self._refuse(why is not None, f"example {example.title!r}: {why}")
        keys = [example.key for example in self.examples]
        self._refuse(len(set(keys)) != len(keys), "two of its examples have one title")

    @property
    def audience(self) -> str:
        """Whom the edge signs callers of this contract for."""
        return audience_of(self.topic)

    @property
    def reruns(self) -> bool:
        """Whether a redelivered call may run a second time."""
        if self.redelivery is not None:
            return self.redelivery == "run"
        return self.http.method in ("GET", "PUT", "DELETE")

    def __repr__(self) -> str:
        return f"<Call {self.topic}: {self.http.method} {self.http.path}>"


def is_topic(text: str) -> bool:
    """Whether a text can name a contract."""
    return len(text) <= TOPIC_LIMIT and _TOPIC.fullmatch(text) is not None


def _is_problem(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Problem) and value is not Problem
