"""`busgate worker`: run services."""

import argparse
import asyncio

import uvloop

from busgate.ops.child import Child
from busgate.ops.faults import CommandError
from busgate.ops.loading import new_bus, read_services, read_settings
from busgate.ops.logs import configure
from busgate.ops.settings import WorkerProcess
from busgate.ops.signals import until_stopped
from busgate.ops.supervisor import Program, Supervisor
from busgate.ops.tuning import settle
from busgate.workers import run_worker


def run(options: argparse.Namespace) -> int:
    settings = read_settings(WorkerProcess, options)
    child = Child.inherited(options.child) if options.child else None
    configure(settings.log, process=child.number if child else None)
    if not settings.worker.services:
        raise CommandError(["worker.services: no service to run; name one: busgate worker shop.services:orders"])
    if child is None and settings.worker.processes > 1:
        return _supervise(settings, options.argv)
    return _serve(settings, child)


def _supervise(settings: WorkerProcess, argv: list[str]) -> int:
    programs = [Program(f"worker {n}", argv, number=n) for n in range(settings.worker.processes)]
    supervisor = Supervisor(programs, grace=settings.worker.grace)
    return asyncio.run(until_stopped(supervisor.run, at_once=supervisor.kill))


def _serve(settings: WorkerProcess, child: Child | None) -> int:
    if child is not None:
        child.follow(settings.worker.grace)
    services = read_services(settings.worker.services)

    def ready() -> None:
        settle()
        if child is not None:
            child.ready()

    async def work(stop: asyncio.Event) -> int:
        return await run_worker(
            services,
            new_bus(settings.bus),
            stop=stop,
            ready=ready,
            settings=settings.worker,
            wait=settings.bus.connect_wait,
        )

    return uvloop.run(until_stopped(work))
