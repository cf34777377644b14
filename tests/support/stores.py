"""For tests of stores: a clock that they set, and one way to ask stores that answer now or later."""

import inspect
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Clock:
    """Microseconds, as the tests say."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += round(seconds * 1_000_000)


async def told(said: T | Awaitable[T]) -> T:
    """What a store says, now or later."""
    if inspect.isawaitable(said):
        result: T = await said
        return result
    return said
