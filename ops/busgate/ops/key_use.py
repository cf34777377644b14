"""When API keys were last used, as the store of the edge has it."""

import asyncio
import inspect
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from itertools import islice

from busgate.edge.api_keys.watch import used_key
from busgate.edge.stores.settings import StoreSettings
from busgate.edge.stores.store import Store, StoreUnavailable

from .faults import CommandError

_AT_ONCE = 200


def last_used(settings: StoreSettings, names: Sequence[str]) -> dict[str, datetime]:
    """When each key was used last, to the minute; of those that never were, or whose store forgets, nothing.

    Raises:
        CommandError: the store cannot be asked.
    """
    if settings.in_memory:  # that of another process
        return {}
    if faults := settings.faults():
        raise CommandError(faults)
    try:
        return asyncio.run(_ask(settings.open(), names))
    except StoreUnavailable as error:
        raise CommandError([f"edge.store: {error}"]) from None


async def _ask(store: Store, names: Sequence[str]) -> dict[str, datetime]:
    await store.start()
    found: dict[str, datetime] = {}
    rest = iter(names)
    try:
        while some := list(islice(rest, _AT_ONCE)):
            values = await asyncio.gather(*(_told(store.get(used_key(name))) for name in some))
            found |= {name: _time(value) for name, value in zip(some, values, strict=True) if value is not None}
    finally:
        await store.close()
    return found


async def _told(said: bytes | Awaitable[bytes | None] | None) -> bytes | None:
    return await said if inspect.isawaitable(said) else said


def _time(value: bytes) -> datetime:
    return datetime.fromtimestamp(int(value), UTC)
