"""A process that serves contracts over HTTP: the edge, its records, its metrics and its admin listener."""

import asyncio
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from busgate.bus import Bus, joined
from busgate.bus.embedded import EmbeddedBroker
from busgate.bus.tables import is_like
from busgate.contracts import Catalog
from busgate.edge.app import Edge
from busgate.edge.audit import Audit
from busgate.edge.audit_exchange import ExchangeSink
from busgate.edge.audit_settings import AuditSettings
from busgate.edge.audit_sinks import AuditError, Sink, WriterSink
from busgate.edge.line_writer import LineWriter
from busgate.edge.metrics import CallMetrics, EdgeMetrics
from busgate.edge.records import Recorder, RecordLines
from busgate.edge.settings import AdminSettings
from busgate.edge.stores.store import StoreUnavailable
from busgate.edge.tap_stream import TapStream

from .admin import AdminServer
from .edge_settings import EdgeProcess
from .faults import CommandError
from .listeners import bind, show
from .settings import LogSettings
from .signals import CUT

if TYPE_CHECKING:
    from busgate.bus.spans import Spans

log = structlog.stdlib.get_logger("busgate.ops")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one process of an edge serves.

    Args:
        public: a bound socket to listen on.
        number: which of several processes it is; its admin listener has a port of its own.
        admin: a bound socket for the admin listener; None: it binds its port itself.
        on_drain: called when an operator tells this process to drain.
    """

    public: socket.socket
    number: int = 0
    admin: socket.socket | None = None
    on_drain: Callable[[], None] = lambda: None


async def serve_edge(
    settings: EdgeProcess,
    catalog: Catalog,
    bus: Bus,
    *,
    place: Place,
    stop: asyncio.Event,
    ready: Callable[[], None],
    spans: "Spans | None" = None,
) -> int:
    """Serve until told to stop, then drain; the exit code.

    Args:
        settings: of this process.
        catalog: what to serve.
        bus: not started yet; it is closed at the end.
        place: where to serve.
        stop: set it to end.
        ready: called once requests are taken.
        spans: where traces go; None: nowhere.

    Raises:
        CommandError: the admin port or the store cannot be had, or the file of the audit.
        BusError: the broker cannot be used.
    """
    # Lines of calls and of the audit may share stdout: then none may be torn.
    with _records(settings.log, shared=settings.edge.audit.to == "stdout") as records:
        audit = _audit(settings.edge.audit, catalog, bus)
        edge = _kind_of_edge(spans)(catalog, settings.edge, bus, recorder=records.recorder, audit=audit)
        admin = _admin_socket(settings.edge.admin, place)
        async with _admin(edge, catalog, records, admin):
            try:
                await bus.start(settings.bus.connect_wait)
                await _start(edge, place.public)
                address = show(place.public.getsockname())
                scheme = "https" if edge.tls else "http"
                log.info("edge ready", address=f"{scheme}://{address}", contracts=len(catalog))
                if mocked := _mocked(edge, catalog):
                    log.warning("answered by examples, not by services (edge.mock)", topics=", ".join(mocked))
                contracts = [(call, "") for call in catalog if call.topic not in mocked]
                leave = partial(_leave, place, stop)
                where = "" if admin is None else show(admin.getsockname())
                async with joined(bus, kind="edge", contracts=contracts, on_drain=leave, admin=where) as drains:
                    ready()
                    await stop.wait()
                    log.info("edge drains", grace=settings.edge.drain_grace)
                    drains()
                    whole = await edge.drain(settings.edge.drain_grace)
            finally:
                await edge.close()
                await bus.close()
    log.info("edge stopped", cut=not whole)
    return 0 if whole else CUT


def _audit(settings: AuditSettings, catalog: Catalog, bus: Bus) -> Audit | None:
    sink: Sink
    lossless = settings.loss == "never"
    match settings.to:
        case "nowhere":
            return None
        case "exchange":
            find = bus.broker.control_address
            sink = ExchangeSink(find, name=bus.name, kept=settings.buffer, lossless=lossless)
        case _:
            sink = WriterSink(settings.file, kept=settings.buffer, lossless=lossless)
    return Audit(catalog, sink, name=bus.name)


async def _start(edge: Edge, public: socket.socket) -> None:
    try:
        await edge.start(public)
    except StoreUnavailable as error:
        raise CommandError([f"edge.store: {error}"]) from None
    except AuditError as error:
        raise CommandError([f"edge.audit.file: {error}"]) from error


def _mocked(edge: Edge, catalog: Catalog) -> list[str]:
    return [call.topic for call in catalog if is_like(call.topic, edge.settings.mock)]


def _kind_of_edge(spans: "Spans | None") -> Callable[..., Edge]:
    if spans is None:
        return Edge
    from busgate.edge.tracing import TracedEdge  # noqa: PLC0415 - needs OpenTelemetry

    return partial(TracedEdge, spans=spans)


def _leave(place: Place, stop: asyncio.Event) -> None:
    """Told from afar to drain: the listener ends here and in the supervisor, whose other processes take all."""
    with suppress(OSError):
        place.public.shutdown(socket.SHUT_RDWR)
    place.on_drain()
    stop.set()


@dataclass(frozen=True, slots=True)
class _Records:
    """Where requests are noted: as metrics always, and as lines where wanted."""

    recorder: Recorder
    calls: CallMetrics
    lines: LineWriter | None


@contextmanager
def _records(settings: LogSettings, *, shared: bool) -> Iterator[_Records]:
    calls = CallMetrics()
    if not settings.calls:
        yield _Records(Recorder(calls.take), calls, None)
        return
    lines = LineWriter(sys.stdout.fileno(), shared=shared)
    recorder = Recorder(calls.take, RecordLines(lines, settings.format).take)
    try:
        yield _Records(recorder, calls, lines)
    finally:
        recorder.flush()
        lines.close()


def _admin_socket(settings: AdminSettings, place: Place) -> socket.socket | None:
    port = settings.port_of(place.number)
    if not settings.enabled or port is None:
        return None
    return place.admin or bind(settings.host, port, name="edge.admin.port")[0]


def _admin(
    edge: Edge, catalog: Catalog, records: _Records, sock: socket.socket | None
) -> AbstractAsyncContextManager[object]:
    if sock is None:
        return nullcontext()
    mocked = _mocked(edge, catalog)
    metrics = EdgeMetrics(
        bus=edge.bus,
        server=edge.server,
        door=edge.door,
        recorder=records.recorder,
        calls=records.calls,
        lines=records.lines,
        audit=edge.audit,
        mocked=mocked,
        tls=edge.tls,
    )

    def readiness() -> list[str]:
        reasons = [edge.bus.unready, edge.door.unready, "draining" if edge.draining else None]
        reasons.append(edge.audit.unready if edge.audit else None)
        return [reason for reason in reasons if reason]

    def remarks() -> list[str]:
        answered = [f"answered by examples, not by services: {', '.join(mocked)}"] if mocked else []
        return answered if edge.door.remark is None else [edge.door.remark, *answered]

    broker = edge.bus.broker
    tap = TapStream(broker, catalog) if isinstance(broker, EmbeddedBroker) else None
    hosts = edge.settings.admin.hosts
    keys = edge.door.signing_keys
    return AdminServer(
        sock,
        readiness=readiness,
        remarks=remarks,
        metrics=metrics.render,
        hosts=hosts,
        tap=tap,
        jwks=None if keys is None else lambda: keys.jwks,
    )
