"""A process that serves contracts over HTTP."""

import asyncio
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from busgate.bus import Bus
from busgate.contracts import Catalog
from busgate.edge.app import Edge
from busgate.edge.line_writer import LineWriter
from busgate.edge.records import Recorder, RecordLines

from .edge_settings import EdgeProcess
from .listeners import show
from .settings import LogSettings
from .signals import CUT

log = structlog.stdlib.get_logger("busgate.ops")


async def serve_edge(
    settings: EdgeProcess,
    catalog: Catalog,
    bus: Bus,
    *,
    public: socket.socket,
    stop: asyncio.Event,
    ready: Callable[[], None],
) -> int:
    """Serve until told to stop, then drain; the exit code.

    Args:
        settings: of this process.
        catalog: what to serve.
        bus: not started yet; it is closed at the end.
        public: a bound socket to listen on.
        stop: set it to end.
        ready: called once requests are taken.

    Raises:
        BusError: the broker cannot be used.
    """
    with _recorder(settings.log) as recorder:
        edge = Edge(catalog, settings.edge, bus, recorder=recorder)
        try:
            await bus.start(settings.bus.connect_wait)
            await edge.start(public)
            log.info("edge ready", address=f"http://{show(public.getsockname())}", contracts=len(catalog))
            ready()
            await stop.wait()
            log.info("edge drains", grace=settings.edge.drain_grace)
            whole = await edge.drain(settings.edge.drain_grace)
        finally:
            await edge.close()
            await bus.close()
    log.info("edge stopped", cut=not whole)
    return 0 if whole else CUT


@contextmanager
def _recorder(settings: LogSettings) -> Iterator[Recorder]:
    """Where requests are noted: a line each on stdout, unless switched off."""
    if not settings.calls:
        yield Recorder()
        return
    writer = LineWriter(sys.stdout.fileno())
    recorder = Recorder(RecordLines(writer, settings.format).take)
    try:
        yield recorder
    finally:
        recorder.flush()
        writer.close()
