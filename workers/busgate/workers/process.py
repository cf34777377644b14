"""A worker process: loads services, serves them on a bus until told to stop, and drains."""

import asyncio
import importlib
from collections.abc import Callable, Iterable, Sequence

import structlog

from busgate.bus import Bus

from .execution import CANCEL_GRACE, Execution
from .nested import Calls
from .service import Handler, Service, ServiceError, refuse_second
from .settings import WorkerSettings

log = structlog.stdlib.get_logger("busgate.workers")


def load_services(references: Iterable[str]) -> list[Service]:
    """Import services by `module:name`.

    Raises:
        ServiceError: one cannot be imported, is not there, or is not a Service.
    """
    return list(dict.fromkeys(_load(reference) for reference in references))


def _load(reference: str) -> Service:
    module_name, _, name = reference.partition(":")
    if not module_name or not name:
        raise ServiceError(f"{reference!r}: a service is given as module:name, like shop.services:orders")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ServiceError(f"{reference}: cannot import {module_name}: {type(error).__name__}: {error}") from error
    service = getattr(module, name, None)
    if isinstance(service, Service):
        return service
    found = sorted(key for key, value in vars(module).items() if isinstance(value, Service))
    what = f"is a {type(service).__name__}, not a Service" if hasattr(module, name) else "is not there"
    raise ServiceError(f"{reference}: {name} {what}; services in {module_name}: {', '.join(found) or 'none'}")


def serve(services: Iterable[Service], bus: Bus, *, cancel_grace: float = CANCEL_GRACE) -> list[Execution]:
    """Register every handler on a bus that has not been started; close what is returned after the bus.

    Raises:
        ServiceError: no handlers, or two for one topic.
    """
    handlers = _handlers(services)
    calls = Calls(bus)
    executions = []
    for handler in handlers:
        execution = Execution(handler, calls, cancel_grace=cancel_grace)
        contract = handler.contract
        bus.serve(
            contract.topic,
            execution,
            prefetch=handler.prefetch,
            reruns=contract.reruns,
            service=handler.service,
        )
        executions.append(execution)
    return executions


def _handlers(services: Iterable[Service]) -> list[Handler]:
    handlers: dict[str, Handler] = {}
    for service in services:
        if not any(service):
            raise ServiceError(
                f"service {service.name} has no handlers: decorate one with @{service.name}.handles(contract)"
            )
        for handler in service:
            refuse_second(handlers.setdefault(handler.contract.topic, handler), handler)
    return list(handlers.values())


async def run_worker(
    services: Sequence[Service],
    bus: Bus,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None] = lambda: None,
    settings: WorkerSettings | None = None,
    wait: float = 3.0,
) -> int:
    """Serve until `stop` is set, then drain: take no more, finish what runs.

    Args:
        services: all that this process serves.
        bus: not started yet; it is closed at the end.
        stop: set it to end, from a signal handler for instance.
        ready: called once calls are taken.
        settings: times for running handlers: `grace` and `cancel_grace`.
        wait: seconds to wait for the broker at the start.

    Returns:
        The exit code: 0, or 1 when a handler was cut short by the end of the grace.

    Raises:
        ServiceError: the services cannot be served together.
        BusError: the broker cannot be used.
    """
    settings = settings or WorkerSettings()
    executions = serve(services, bus, cancel_grace=settings.cancel_grace)
    try:
        await bus.start(wait)
        log.info("worker ready", handlers={each.handler.contract.topic: each.handler.prefetch for each in executions})
        ready()
        await stop.wait()
        log.info("worker drains", grace=settings.grace)
        whole = await bus.drain(settings.grace)
    finally:
        await bus.close()
        for execution in executions:
            execution.close()
    log.info("worker stopped", cut=not whole, stuck=sum(each.watch.stuck for each in executions))
    return 0 if whole else 1
