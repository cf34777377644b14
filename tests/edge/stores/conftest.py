"""Stores of every kind, each new, and the clock that they go by."""

import secrets

import pytest
from support.stores import Clock

from busgate.edge.stores.memory import MemoryStore
from busgate.edge.stores.redis import RedisStore
from busgate.edge.stores.redis_url import RedisUrl
from busgate.edge.stores.sqlite import SqliteStore


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def new_store(redis_node, tmp_path, clock):
    """Makes stores of a kind, not started, all with the same memory but for those of kind memory."""
    prefix = f"{secrets.token_hex(8)}:"

    def new(kind):
        if kind == "memory":
            return MemoryStore(clock=clock)
        if kind == "sqlite":
            return SqliteStore(tmp_path / "store.db", clock=clock)
        return RedisStore(RedisUrl.parse(redis_node.url, prefix=prefix), clock=clock)

    return new


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def store(request, new_store):
    made = new_store(request.param)
    await made.start()
    yield made
    await made.close()
