"""An edge with limits, and a service behind it that can be held up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from pydantic import BaseModel

from busgate.contracts import Call, http
from busgate.edge import EdgeSettings
from busgate.edge.testing import HttpClient, HttpHarness
from busgate.workers import Context, Service
from busgate.workers.testing import Harness


class Read(BaseModel):
    id: str


class Text(BaseModel):
    text: str


read = Call("shop.things.read.v1", http.get("/things/{id}"), request=Read, reply=Text)
other = Call("shop.others.read.v1", http.get("/others/{id}"), request=Read, reply=Text)
secret = Call("shop.secrets.read.v1", http.get("/secrets/{id}"), request=Read, reply=Text, scopes={"secret"})
public = Call("shop.public.read.v1", http.get("/public/{id}"), request=Read, reply=Text, public=True)
CONTRACTS = (read, other, secret, public)


class Gate:
    """Handlers wait for it; it is open at first."""

    def __init__(self) -> None:
        self.waiting = 0
        self._open = asyncio.Event()
        self._open.set()
        self.shut = self._open.clear
        self.open = self._open.set

    async def wait(self) -> None:
        self.waiting += 1
        try:
            await self._open.wait()
        finally:
            self.waiting -= 1


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def serve(gate: Gate) -> AsyncIterator[Callable[..., Any]]:
    """Serve the contracts with settings of the edge, and give a client."""
    things = Service("things")

    async def answer(request: Read, context: Context) -> Text:
        await gate.wait()
        return Text(text=request.id)

    for call in CONTRACTS:
        things.handles(call)(answer)
    harness = Harness()
    async with AsyncExitStack() as closing:
        await closing.enter_async_context(harness.serving(things))

        async def serving(**edge: Any) -> HttpClient:
            issuer = {"issuer": "live", "audience": ["shop"], "keys": [{"secret": "x" * 32}], "claims": ["plan"]}
            settings = EdgeSettings.model_validate({"jwt": [issuer]} | edge)
            http_harness = HttpHarness(harness.stage)
            return await closing.enter_async_context(http_harness.serving(*CONTRACTS, settings=settings))

        yield serving
