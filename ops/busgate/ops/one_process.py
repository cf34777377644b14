"""Edge and workers in one process, for the demo and for development: on the embedded bus, or on a RabbitMQ."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import uvloop
from pydantic import SecretStr
from structlog.contextvars import bound_contextvars

from busgate.bus import Bus
from busgate.bus.embedded import EmbeddedBroker
from busgate.bus.settings import BusSettings
from busgate.bus.signed import SigningKey, jwk_set, new_pem
from busgate.contracts import Catalog
from busgate.edge.signing_keys import SigningSettings
from busgate.workers import Service, run_worker
from busgate.workers.trust_settings import TrustSettings

from .edge_process import Place, serve_edge
from .edge_settings import Settings
from .loading import new_bus, process_name
from .signals import until_stopped
from .tracing import tracing
from .tuning import settle

if TYPE_CHECKING:
    from busgate.bus.spans import Spans


def serve_all(
    settings: Settings,
    catalog: Catalog,
    services: Sequence[Service],
    *,
    place: Place,
    ready: Callable[[], None],
    numbers: Collection[int] | None = None,
) -> int:
    """Serve until a signal comes; the exit code.

    Args:
        settings: of edge and workers.
        catalog: what the edge serves.
        services: all of them run here.
        place: where the edge serves.
        ready: called when calls are answered.
        numbers: the signals that tell it to stop, as `until_stopped` says.

    Raises:
        CommandError, BusError: as `serve_edge` and `run_worker`.
    """
    settings = _trusting(settings, services)

    def on_ready() -> None:
        settle()
        ready()

    async def work(stop: asyncio.Event) -> int:
        connect = _connector(settings.bus)
        with tracing(settings.tracing) as spans:
            async with _Workers(settings, services, connect, spans):
                edge = connect(process_name(settings.bus))
                with bound_contextvars(process=edge.name):
                    return await serve_edge(
                        settings, catalog, edge, place=place, stop=stop, ready=on_ready, spans=spans
                    )

    return uvloop.run(until_stopped(work, numbers=numbers))


def _trusting(settings: Settings, services: Sequence[Service]) -> Settings:
    """Where services verify who calls and no keys are configured: a key for this run, only in memory."""
    verified = any(service.trust == "verified" for service in services)
    if not verified or settings.edge.signing.enabled or settings.worker.trust.enabled:
        return settings
    pem = new_pem()
    edge = {"signing": SigningSettings(key=SecretStr(pem.decode()))}
    worker = {"trust": TrustSettings(jwks=jwk_set([SigningKey(pem)]).decode())}
    update = {"edge": settings.edge.model_copy(update=edge), "worker": settings.worker.model_copy(update=worker)}
    return settings.model_copy(update=update)


def _connector(settings: BusSettings) -> Callable[[str], Bus]:
    """What makes a bus of a name; all of them meet at one broker."""
    if not settings.embedded:
        return lambda name: new_bus(settings, name=name)
    broker = EmbeddedBroker()
    return lambda name: Bus(broker, name=name, max_waiting=settings.max_waiting)


class _Workers:
    """A worker for each service. They end after the edge, which needs them to drain."""

    def __init__(
        self, settings: Settings, services: Sequence[Service], connect: Callable[[str], Bus], spans: "Spans | None"
    ) -> None:
        self._settings = settings
        self._services = services
        self._connect = connect
        self._spans = spans
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[int]] = []

    async def __aenter__(self) -> None:
        try:
            for service in self._services:
                await self._start(service)
        except BaseException:
            await self._end()
            raise

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def _start(self, service: Service) -> None:
        serving = asyncio.Event()
        work = run_worker(
            [service],
            self._connect(service.name),
            stop=self._stop,
            ready=serving.set,
            settings=self._settings.worker,
            wait=self._settings.bus.connect_wait,
            spans=self._spans,
        )
        with bound_contextvars(process=service.name):  # the task and all that it starts inherit it
            task = asyncio.create_task(work)
        waiting = asyncio.create_task(serving.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.is_set():
            waiting.cancel()
            task.result()  # its error
        self._tasks.append(task)

    async def _end(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)
