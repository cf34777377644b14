"""`busgate worker`: run services."""

import argparse
import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext

import uvloop

from busgate.ops.admin import AdminServer
from busgate.ops.child import Child
from busgate.ops.faults import CommandError
from busgate.ops.listeners import bind, show
from busgate.ops.loading import new_bus, process_name, read_services, read_settings
from busgate.ops.logs import configure
from busgate.ops.settings import WorkerProcess
from busgate.ops.signals import until_stopped
from busgate.ops.supervisor import Program, Supervisor
from busgate.ops.tracing import tracing
from busgate.ops.tuning import settle
from busgate.workers import run_worker
from busgate.workers.metrics import WorkerMetrics


def run(options: argparse.Namespace) -> int:
    settings = read_settings(WorkerProcess, options)
    child = Child.inherited(options.child) if options.child else None
    supervises = child is None and settings.worker.processes > 1
    name = None if supervises else process_name(settings.bus)  # as `busgate ps` calls it
    configure(settings.log, process=name, child=child.among(settings.worker.processes) if child else None)
    if not settings.worker.services:
        raise CommandError(["worker.services: no service to run; name one: busgate worker shop.services:orders"])
    if name is None:
        return _supervise(settings, options.argv)
    return _serve(settings, child, name)


def _supervise(settings: WorkerProcess, argv: list[str]) -> int:
    programs = [Program(f"worker {n}", argv, number=n) for n in range(settings.worker.processes)]
    supervisor = Supervisor(programs, grace=settings.worker.grace)
    return asyncio.run(until_stopped(supervisor.run, at_once=supervisor.kill))


def _serve(settings: WorkerProcess, child: Child | None, name: str) -> int:
    if child is not None:
        child.follow(settings.worker.grace)
    services = read_services(settings.worker.services)
    admin = settings.worker.admin
    port = admin.port_of(child.number if child is not None else 0)
    sock = None if port is None else bind(admin.host, port, name="worker.admin.port")[0]

    def beside(metrics: WorkerMetrics) -> AbstractAsyncContextManager[object]:
        if sock is None:
            return nullcontext()
        return AdminServer(sock, readiness=metrics.readiness, metrics=metrics.render, hosts=admin.hosts)

    def ready() -> None:
        settle()
        if child is not None:
            child.ready()

    async def work(stop: asyncio.Event) -> int:
        with tracing(settings.tracing) as spans:
            return await run_worker(
                services,
                new_bus(settings.bus, name=name),
                stop=stop,
                ready=ready,
                settings=settings.worker,
                wait=settings.bus.connect_wait,
                beside=beside,
                on_drain=child.drained if child is not None else lambda: None,
                admin="" if sock is None else show(sock.getsockname()),
                spans=spans,
            )

    return uvloop.run(until_stopped(work))
