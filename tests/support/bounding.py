"""Bounds in time for asynchronous tests, and the brokers that only some parameters of a test need."""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

LONGEST = 30.0
"""Seconds that a test may take; what hangs fails."""


def bound(item: pytest.Item, needs: Mapping[str, str]) -> None:
    """Bound a test, and name the fixture that only its parameter `rabbitmq` needs: a missing broker is said early.

    `needs` says which fixture, by the name of the parameter.
    """
    if not isinstance(item, pytest.Function):
        return
    if inspect.iscoroutinefunction(item.obj):
        item.obj = bounded(item.obj)
    for name, value in item.callspec.params.items() if hasattr(item, "callspec") else ():
        if value == "rabbitmq":
            item.fixturenames = [*item.fixturenames, needs[name]]


def bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def run(*args: Any, **fixtures: Any) -> None:
        async with asyncio.timeout(LONGEST):
            await test(*args, **fixtures)

    return run
