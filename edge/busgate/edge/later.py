"""What is begun only when somebody waits for it."""

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Later(Generic[T_co]):
    """Awaits what a function makes, and makes it only then.

    A request may be refused before anybody waits. A coroutine that was made by then would have to be closed, and those
    inside it as well, or each of them is a warning.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[], Awaitable[T_co]]) -> None:
        self._make = make

    def __await__(self) -> Generator[Any, Any, T_co]:
        return self._make().__await__()
