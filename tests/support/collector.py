"""A collector of traces: takes OTLP over HTTP as a real one does, and keeps what it got."""

import asyncio
from typing import Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Collector:
    """Use it as a context manager. `spans` are service and name of each span; `status` is what it answers."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str]] = []
        self.traces: set[str] = set()
        self.status = 200
        self.hold = asyncio.Event()
        """Answers wait for it."""
        self.hold.set()
        self.asked = asyncio.Event()
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1/traces"

    async def until(self, count: int) -> None:
        """Wait until it has so many spans."""
        async with asyncio.timeout(20):
            while len(self.spans) < count:
                await asyncio.sleep(0.01)

    async def _take(self, request: web.Request) -> web.Response:
        batch = ExportTraceServiceRequest.FromString(await request.read())
        self.asked.set()
        await self.hold.wait()
        if self.status == 200:
            for of_service in batch.resource_spans:
                (name,) = [
                    each.value.string_value for each in of_service.resource.attributes if each.key == "service.name"
                ]
                for scope in of_service.scope_spans:
                    self.spans += [(name, span.name) for span in scope.spans]
                    self.traces |= {span.trace_id.hex() for span in scope.spans}
        body = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=body, status=self.status, content_type="application/x-protobuf")

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.hold.set()
        await self._runner.cleanup()
