"""A house: workers and somebody who calls them, on one embedded broker."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from pydantic import BaseModel

from busgate.bus import Bus, CallContext, Reply
from busgate.bus.embedded import EmbeddedBroker
from busgate.bus.wire import TYPE_PROBLEM, TYPE_REPLY
from busgate.contracts import Call
from busgate.workers import Service, serve
from busgate.workers.execution import Execution

TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
Until = Callable[[Callable[[], bool]], Awaitable[None]]


class House:
    def __init__(self, closing: AsyncExitStack) -> None:
        self.broker = EmbeddedBroker()
        self.closing = closing
        self._client: Bus | None = None
        self._calls = 0

    async def work(self, *services: Service, cancel_grace: float = 0.05) -> dict[str, Execution]:
        """Start a worker that serves these; its executions by topic."""
        bus = Bus(self.broker, name="worker")
        executions = serve(services, bus, cancel_grace=cancel_grace)
        await self.closing.enter_async_context(bus)
        for execution in executions:
            self.closing.callback(execution.close)
        return {execution.handler.contract.topic: execution for execution in executions}

    async def client(self) -> Bus:
        if self._client is None:
            self._client = await self.closing.enter_async_context(Bus(self.broker, name="client"))
        return self._client

    async def send(
        self,
        contract: Call[Any, Any],
        body: bytes,
        *,
        budget: float = 2.0,
        caller: bytes = b"",
        hops: int = 0,
    ) -> Reply:
        """Call with a body as it is; a reply or a problem."""
        client = await self.client()
        self._calls += 1
        context = CallContext(b"%032x" % self._calls, TRACEPARENT, caller, hops)
        return await client.endpoint(contract.topic).call(body, context, budget)

    def served(self, contract: Call[Any, Any]) -> bool:
        """Whether anybody consumes the topic."""
        queue = self.broker.find(contract.topic)
        return queue is not None and bool(queue.consumers)

    async def send_when_served(self, contract: Call[Any, Any]) -> Reply:
        """Call with an empty request as soon as somebody consumes the topic."""
        await _until(lambda: self.served(contract))
        return await self.send(contract, b"{}", budget=5)

    async def ask(self, contract: Call[Any, Any], request: BaseModel, **options: Any) -> dict[str, Any]:
        """Call and expect a reply; its document."""
        return self._document(
            await self.send(contract, request.model_dump_json(by_alias=True).encode(), **options), TYPE_REPLY
        )

    async def fail(self, contract: Call[Any, Any], request: BaseModel, **options: Any) -> dict[str, Any]:
        """Call and expect a problem; its document."""
        return self._document(
            await self.send(contract, request.model_dump_json(by_alias=True).encode(), **options),
            TYPE_PROBLEM,
        )

    def _document(self, reply: Reply, kind: bytes) -> dict[str, Any]:
        assert reply.type == kind, reply.body
        document = json.loads(reply.body)
        assert isinstance(document, dict)
        return document


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def until() -> "Until":
    """Lets the loop turn until something is so."""
    return _until


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with AsyncExitStack() as closing:
        yield House(closing)
