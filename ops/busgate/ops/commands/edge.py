"""`busgate edge`: serve contracts over HTTP."""

import argparse
import asyncio

import uvloop

from busgate.contracts import Catalog
from busgate.edge.settings import faults_with
from busgate.ops.child import Child
from busgate.ops.edge_process import Place, serve_edge
from busgate.ops.edge_settings import EdgeProcess
from busgate.ops.faults import CommandError
from busgate.ops.listeners import bind
from busgate.ops.loading import new_bus, process_name, read_catalog, read_settings
from busgate.ops.logs import configure
from busgate.ops.signals import until_stopped
from busgate.ops.supervisor import Program, Supervisor
from busgate.ops.tracing import tracing
from busgate.ops.tuning import settle


def run(options: argparse.Namespace) -> int:
    settings = read_settings(EdgeProcess, options)
    child = Child.inherited(options.child) if options.child else None
    supervises = child is None and settings.edge.processes > 1
    name = None if supervises else process_name(settings.bus)  # as `busgate ps` calls it
    configure(settings.log, process=name, child=child.among(settings.edge.processes) if child else None)
    if not settings.edge.contracts:
        raise CommandError(["edge.contracts: no contract to serve; name a module: busgate edge shop.contracts"])
    if name is None:
        return _supervise(settings, options.argv)
    return _serve(settings, child, name)


def _supervise(settings: EdgeProcess, argv: list[str]) -> int:
    count = settings.edge.processes
    public = bind(settings.edge.host, settings.edge.port, name="edge.port", count=count)
    programs = [Program(f"edge {n}", argv, number=n, sockets=[sock]) for n, sock in enumerate(public)]
    supervisor = Supervisor(programs, grace=settings.edge.drain_grace)
    return asyncio.run(until_stopped(supervisor.run, at_once=supervisor.kill))


def _serve(settings: EdgeProcess, child: Child | None, name: str) -> int:
    if child is not None:
        child.follow(settings.edge.drain_grace)
    catalog = _catalog(settings)
    if child is not None:
        place = Place(child.listeners[0], child.number, on_drain=child.drained)
    else:
        place = Place(bind(settings.edge.host, settings.edge.port, name="edge.port")[0])

    def ready() -> None:
        settle()
        if child is not None:
            child.ready()

    async def work(stop: asyncio.Event) -> int:
        bus = new_bus(settings.bus, name=name)
        with tracing(settings.tracing) as spans:
            return await serve_edge(settings, catalog, bus, place=place, stop=stop, ready=ready, spans=spans)

    return uvloop.run(until_stopped(work))


def _catalog(settings: EdgeProcess) -> Catalog:
    catalog = read_catalog(settings.edge.contracts)
    if faults := faults_with(settings.edge, catalog):
        raise CommandError(faults)
    return catalog
