"""A process that runs services on a bus."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from busgate.bus import Bus
from busgate.workers import Service, serve

from .settings import WorkerProcess
from .signals import CUT

log = structlog.stdlib.get_logger("busgate.ops")


async def serve_services(
    settings: WorkerProcess,
    services: Sequence[Service],
    bus: Bus,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
) -> int:
    """Serve until told to stop, then drain; the exit code.

    Raises:
        ServiceError: the services cannot be served together.
        BusError: the broker cannot be used.
    """
    executions = serve(services, bus, cancel_grace=settings.worker.cancel_grace)
    try:
        await bus.start(settings.bus.connect_wait)
        log.info("worker ready", services=", ".join(service.name for service in services))
        ready()
        await stop.wait()
        log.info("worker drains", grace=settings.worker.grace)
        whole = await bus.drain(settings.worker.grace)
    finally:
        await bus.close()
        for execution in executions:
            execution.close()
    log.info("worker stopped", cut=not whole)
    return 0 if whole else CUT
