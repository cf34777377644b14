"""A memory of fixed size for what is good for a short time."""

from collections.abc import Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class ShortMemory(Generic[KeyT, ValueT]):
    """Remembers at most 2 x `half` values; who asks looks whether one is still good.

    It keeps two dictionaries. When the younger one is full, it becomes the older one, and that is forgotten with all
    that was put into it: so nothing is moved or counted when a value is read.
    """

    __slots__ = ("_half", "_older", "_younger")

    def __init__(self, half: int) -> None:
        self._half = half
        self._younger: dict[KeyT, ValueT] = {}
        self._older: dict[KeyT, ValueT] = {}

    def get(self, key: KeyT) -> ValueT | None:
        return self._younger.get(key) or self._older.get(key)

    def put(self, key: KeyT, value: ValueT) -> None:
        if len(self._younger) >= self._half and key not in self._younger:
            self._older, self._younger = self._younger, {}
        self._younger[key] = value

    def clear(self) -> None:
        self._younger, self._older = {}, {}

    def __len__(self) -> int:
        """How many values are remembered; one may count twice."""
        return len(self._younger) + len(self._older)
