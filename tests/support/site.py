"""An edge on the embedded bus with a service behind it, and a client that sends what it is told."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from busgate.bus import Bus
from busgate.bus.embedded import EmbeddedBroker
from busgate.contracts import Call, Caller, Catalog
from busgate.edge import Edge, EdgeSettings, Recorder
from busgate.edge.audit import Audit
from busgate.edge.records import Record
from busgate.edge.settings import faults_with
from busgate.edge.testing import Tokens
from busgate.workers import Service, serve


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


class Site:
    """A running edge and a client of it."""

    def __init__(self, edge: Edge, records: list[Record], base: str, client: aiohttp.ClientSession) -> None:
        self.edge = edge
        self.records = records
        self.base = base
        self._client = client
        self._tokens: Tokens | None = None

    async def ask(
        self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        given = ({"Content-Type": "application/json"} if body is not None else {}) | dict(headers or {})
        async with self._client.request(method, self.base + path, data=body, headers=given) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def raw(self, method: str, path: str, headers: Iterable[tuple[str, str]]) -> Answer:
        """A request whose path no client library has put in order."""
        async with self._client.request(method, URL(self.base + path, encoded=True), headers=list(headers)) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def bytes(self, data: bytes) -> bytes:
        """What comes back for these bytes until the edge ends the connection."""
        port = int(self.base.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        async with asyncio.timeout(20):
            answer = await reader.read()
        writer.close()
        return answer

    async def as_caller(self, caller: Caller | str, method: str, path: str, **more: Any) -> Answer:
        assert self._tokens is not None
        headers = {"Authorization": f"Bearer {self._tokens.of(caller)}", **more.pop("headers", {})}
        return await self.ask(method, path, headers=headers, **more)


@asynccontextmanager
async def serving(
    contracts: Iterable[Call[Any, Any]],
    services: Iterable[Service] = (),
    *,
    audit: Callable[[Catalog], Audit] | None = None,
    **settings: Any,
) -> AsyncIterator[Site]:
    """Serve contracts; `settings` are those of [edge], and tokens are those of `Site.as_caller`."""
    catalog = Catalog(contracts)
    tokens = Tokens({scope for call in catalog for scope in call.scopes})
    table = EdgeSettings.model_validate(settings).model_copy(update={"jwt": (tokens.issuer(()),)})
    assert faults_with(table, catalog) == []
    async with AsyncExitStack() as closing:
        broker = EmbeddedBroker()
        worker, bus = Bus(broker, name="worker"), Bus(broker, name="edge")
        for execution in serve(list(services), worker):
            closing.callback(execution.close)
        await closing.enter_async_context(worker)
        await closing.enter_async_context(bus)
        records: list[Record] = []
        edge = Edge(catalog, table, bus, recorder=Recorder(records.extend), audit=audit(catalog) if audit else None)
        closing.push_async_callback(edge.close)
        listener = socket.create_server(("127.0.0.1", 0))
        await edge.start(listener)
        client = await closing.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)))
        site = Site(edge, records, f"http://127.0.0.1:{listener.getsockname()[1]}", client)
        site._tokens = tokens
        yield site
