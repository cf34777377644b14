"""A service: a named set of handlers, each bound to a contract by a decorator that checks their types."""

import inspect
import re
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, overload

from busgate.contracts import Call
from busgate.contracts.call import ReplyT, RequestT

from .context import Context

Trust = Literal["bus", "verified"]

ASYNC_PREFETCH = 32
PLAIN_PREFETCH = 8
"""Plain handlers hold a thread each, so fewer of them run at a time."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class ServiceError(ValueError):
    """A service that cannot be loaded or served; the message names it, and the cure."""


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that answers the calls of one contract, and how it wants to be run."""

    service: str
    contract: Call[Any, Any]
    function: Callable[[Any, Context], Any]
    cancel_at_deadline: bool
    prefetch: int
    trust: Trust = "bus"

    @property
    def is_async(self) -> bool:
        """An `async def` runs in the event loop, anything else in a thread."""
        return _is_async(self.function)


class Registration(Generic[RequestT, ReplyT]):
    """What `Service.handles` returns: takes a handler of the contract's types and gives it back as it is."""

    def __init__(self, register: Callable[[Callable[[RequestT, Context], Any]], None]) -> None:
        self._register = register

    @overload
    def __call__(
        self, function: Callable[[RequestT, Context], Coroutine[Any, Any, ReplyT]]
    ) -> Callable[[RequestT, Context], Coroutine[Any, Any, ReplyT]]: ...
    @overload
    def __call__(self, function: Callable[[RequestT, Context], ReplyT]) -> Callable[[RequestT, Context], ReplyT]: ...
    def __call__(self, function: Callable[[RequestT, Context], Any]) -> Callable[[RequestT, Context], Any]:
        self._register(function)
        return function


class Service:
    """A named set of handlers. Iterate over it for the handlers.

        orders = Service("orders")

        @orders.handles(place_order)
        async def place(request: PlaceOrder, context: Context) -> Order: ...

    Args:
        name: lower-case letters, digits, dots, hyphens and underscores; travels with every reply.
        trust: whose word it takes for who calls: "bus" is that of everybody who may write to it; "verified" is that of
            the edge alone, which signs callers, by the keys of [worker.trust].
        calls: the contracts that its handlers call; `busgate permissions` gives it the right to these.

    Raises:
        ServiceError: the name is not one, or there is no such trust.
    """

    def __init__(self, name: str, *, trust: Trust = "bus", calls: Iterable[Call[Any, Any]] = ()) -> None:
        if not _NAME.fullmatch(name):
            raise ServiceError(f"service name {name!r}: 1 to 64 lower-case letters, digits, '.', '-' or '_'")
        if trust not in ("bus", "verified"):
            raise ServiceError(f'service {name}: trust is "bus" or "verified", not {trust!r}')
        self.name = name
        self.trust = trust
        self.calls = tuple(calls)
        self._handlers: dict[str, Handler] = {}

    def handles(
        self,
        contract: Call[RequestT, ReplyT],
        *,
        cancel_at_deadline: bool = True,
        prefetch: int | None = None,
    ) -> Registration[RequestT, ReplyT]:
        """Make the decorated function the handler of a contract.

        Args:
            contract: what it answers: `async def (Request, Context) -> Reply`, or a plain `def`, which runs
                in a thread.
            cancel_at_deadline: cancel an `async def` that still runs a moment after nobody waits for it. A
                thread cannot be cancelled: one that hangs is counted and keeps its place.
            prefetch: calls that one process takes at a time; overrides the contract's.

        Raises:
            ServiceError: the service has a handler for this contract already.
        """

        def register(function: Callable[[RequestT, Context], Any]) -> None:
            default = ASYNC_PREFETCH if _is_async(function) else PLAIN_PREFETCH
            taken = prefetch or contract.prefetch or default
            handler = Handler(self.name, contract, function, cancel_at_deadline, taken, self.trust)
            refuse_second(self._handlers.setdefault(contract.topic, handler), handler)

        return Registration(register)

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers.values())

    def __repr__(self) -> str:
        return f"<Service {self.name}: {', '.join(self._handlers) or 'no handlers'}>"


def refuse_second(first: Handler, handler: Handler) -> None:
    """Raise ServiceError where one topic has two handlers."""
    if first is not handler:
        raise ServiceError(
            f"two handlers for {handler.contract.topic}: {_place(first)} and {_place(handler)}; keep one"
        )


def _is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine; an object may have an async `__call__`."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _place(handler: Handler) -> str:
    return f"{handler.service} ({getattr(handler.function, '__qualname__', repr(handler.function))})"
