"""A process that serves contracts over HTTP: the edge, its records, its metrics and its admin listener."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import structlog

from busgate.bus import Bus
from busgate.contracts import Catalog
from busgate.edge.admin import AdminServer
from busgate.edge.app import Edge
from busgate.edge.line_writer import LineWriter
from busgate.edge.metrics import CallMetrics, EdgeMetrics
from busgate.edge.records import Recorder, RecordLines

from .edge_settings import EdgeProcess
from .listeners import refusal, show
from .settings import LogSettings
from .signals import CUT

log = structlog.stdlib.get_logger("busgate.ops")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one process of an edge serves.

    Args:
        public: a bound socket to listen on.
        number: which of several processes it is; its admin listener has a port of its own.
    """

    public: socket.socket
    number: int = 0


async def serve_edge(
    settings: EdgeProcess,
    catalog: Catalog,
    bus: Bus,
    *,
    place: Place,
    stop: asyncio.Event,
    ready: Callable[[], None],
) -> int:
    """Serve until told to stop, then drain; the exit code.

    Args:
        settings: of this process.
        catalog: what to serve.
        bus: not started yet; it is closed at the end.
        place: where to serve.
        stop: set it to end.
        ready: called once requests are taken.

    Raises:
        CommandError: the admin port cannot be had.
        BusError: the broker cannot be used.
    """
    with _records(settings.log) as records:
        edge = Edge(catalog, settings.edge, bus, recorder=records.recorder)
        async with _admin(edge, records, place.number):
            try:
                await bus.start(settings.bus.connect_wait)
                await edge.start(place.public)
                address = show(place.public.getsockname())
                log.info("edge ready", address=f"http://{address}", contracts=len(catalog))
                ready()
                await stop.wait()
                log.info("edge drains", grace=settings.edge.drain_grace)
                whole = await edge.drain(settings.edge.drain_grace)
            finally:
                await edge.close()
                await bus.close()
    log.info("edge stopped", cut=not whole)
    return 0 if whole else CUT


@dataclass(frozen=True, slots=True)
class _Records:
    """Where requests are noted: as metrics always, and as lines where wanted."""

    recorder: Recorder
    calls: CallMetrics
    lines: LineWriter | None


@contextmanager
def _records(settings: LogSettings) -> Iterator[_Records]:
    calls = CallMetrics()
    if not settings.calls:
        yield _Records(Recorder(calls.take), calls, None)
        return
    lines = LineWriter(sys.stdout.fileno())
    recorder = Recorder(calls.take, RecordLines(lines, settings.format).take)
    try:
        yield _Records(recorder, calls, lines)
    finally:
        recorder.flush()
        lines.close()


@asynccontextmanager
async def _admin(edge: Edge, records: _Records, number: int) -> AsyncIterator[None]:
    settings = edge.settings.admin
    if not settings.enabled:
        yield
        return
    metrics = EdgeMetrics(
        bus=edge.bus,
        server=edge.server,
        verifier=edge.verifier,
        recorder=records.recorder,
        calls=records.calls,
        lines=records.lines,
    )
    port = settings.port_of(number)

    def readiness() -> list[str]:
        reasons = [edge.bus.unready, "draining" if edge.draining else None]
        return [reason for reason in reasons if reason]

    admin = AdminServer(settings.host, port, readiness=readiness, metrics=metrics.render, hosts=settings.hosts)
    try:
        await admin.start()
    except OSError as error:
        raise refusal(error, (settings.host, port), name="edge.admin.port") from error
    try:
        yield
    finally:
        await admin.close()
