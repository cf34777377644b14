"""A call that a test makes: awaited like any coroutine, and clear about it where the `await` was forgotten."""

import inspect
from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

ReplyT_co = TypeVar("ReplyT_co", bound=BaseModel, covariant=True)

_ASKED_BY_PYTHON = ("_", "cr_", "gi_", "ag_")
"""Beginnings of names that asyncio and debuggers look for on any coroutine."""


class Calling(Coroutine[Any, Any, ReplyT_co]):
    """The coroutine of a call: await it, or give it to `asyncio.gather` or a task.

    Raises:
        AttributeError, TypeError: it was used as if it were the reply.
    """

    def __init__(self, call: Coroutine[Any, Any, ReplyT_co], topic: str) -> None:
        self._call = call
        self._topic = topic

    def __await__(self) -> Generator[Any, Any, ReplyT_co]:
        return self._call.__await__()

    def send(self, value: Any) -> Any:
        return self._call.send(value)

    def throw(
        self,
        kind: type[BaseException] | BaseException,
        value: BaseException | object = None,
        trace: TracebackType | None = None,
    ) -> Any:
        return self._call.throw(kind) if value is None else self._call.throw(kind, value, trace)  # type: ignore[arg-type] # as given

    def close(self) -> None:
        self._call.close()

    if not TYPE_CHECKING:  # a type checker sees these faults by itself

        def __getattr__(self, name: str) -> Any:
            __tracebackhide__ = True
            if name.startswith(_ASKED_BY_PYTHON):
                raise AttributeError(name)
            raise AttributeError(f"{self._forgotten()}, then take its {name}")

        def __eq__(self, other: object) -> bool:
            __tracebackhide__ = True
            if isinstance(other, BaseModel):
                raise TypeError(self._forgotten())
            return self is other

        def __hash__(self) -> int:
            return id(self)

    def _forgotten(self) -> str:
        if inspect.getcoroutinestate(self._call) == inspect.CORO_CREATED:
            self._call.close()  # it will not be awaited: no second complaint
        return f"the call of {self._topic} was not awaited: write `await busgate.call(...)`"
