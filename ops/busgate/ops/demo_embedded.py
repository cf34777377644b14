"""The demo in one process: edge and workers on the embedded bus."""

import asyncio
import socket
from collections.abc import Callable, Sequence

import uvloop

from busgate.bus import Bus
from busgate.bus.embedded import EmbeddedBroker
from busgate.contracts import Catalog
from busgate.workers import Service, run_worker

from .edge_process import Place, serve_edge
from .edge_settings import Settings
from .signals import until_stopped
from .tuning import settle


def serve_all(
    settings: Settings,
    catalog: Catalog,
    services: Sequence[Service],
    *,
    public: socket.socket,
    ready: Callable[[], None],
) -> int:
    """Serve until a signal comes; the exit code."""

    def on_ready() -> None:
        settle()
        ready()

    async def work(stop: asyncio.Event) -> int:
        broker = EmbeddedBroker()
        bus = Bus(broker, name="edge", max_waiting=settings.bus.max_waiting)
        async with _Workers(settings, services, broker):
            return await serve_edge(settings, catalog, bus, place=Place(public), stop=stop, ready=on_ready)

    return uvloop.run(until_stopped(work))


class _Workers:
    """A worker for each service. They end after the edge, which needs them to drain."""

    def __init__(self, settings: Settings, services: Sequence[Service], broker: EmbeddedBroker) -> None:
        self._settings = settings
        self._services = services
        self._broker = broker
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[int]] = []

    async def __aenter__(self) -> None:
        for service in self._services:
            serving = asyncio.Event()
            bus = Bus(self._broker, name=service.name)
            work = run_worker([service], bus, stop=self._stop, ready=serving.set, settings=self._settings.worker)
            self._tasks.append(asyncio.create_task(work))
            await serving.wait()

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)
