"""How tests wait: for what they are about, never for a time."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], *, limit: float = 20.0) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.005)
