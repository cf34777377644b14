"""A worker process: loads services, serves them on a bus until told to stop, and drains."""

import asyncio
import importlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import structlog

from busgate.bus import Bus, joined

from .execution import CANCEL_GRACE, Execution
from .metrics import WorkerMetrics
from .nested import Calls
from .service import Handler, Service, ServiceError, refuse_second
from .settings import WorkerSettings
from .trust_settings import TrustSettings

if TYPE_CHECKING:
    from busgate.bus.spans import Spans

    from .trust import Trust

TRUST_CURE = "pip install 'busgate[trust]'"

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


def serve(
    services: Iterable[Service],
    bus: Bus,
    *,
    cancel_grace: float = CANCEL_GRACE,
    spans: "Spans | None" = None,
    trust: "Trust | None" = None,
) -> list[Execution]:
    """Register every handler on a bus that has not been started; close what is returned after the bus.

    Args:
        services: what to serve.
        bus: not started yet.
        cancel_grace: seconds past its deadline after which a handler is cancelled.
        spans: where traces go; None: nothing is traced, and nothing of tracing is imported.
        trust: the keys of the edge, for services that verify who calls.

    Raises:
        ServiceError: no handlers, two for one topic, or a service that verifies and has no keys.
    """
    handlers = handlers_of(services)
    verified = next((handler for handler in handlers if handler.trust == "verified"), None)
    if verified is not None and trust is None:
        raise ServiceError(f"{_needs_keys(verified)}: name them in [worker.trust]")
    make = _plain(bus) if spans is None else _traced(bus, spans)
    executions = []
    for handler in handlers:
        execution = make(handler, cancel_grace=cancel_grace)
        contract = handler.contract
        if trust is not None and handler.trust == "verified":
            execution.gate = trust.gate(contract, execution.answers)
        bus.serve(
            contract.topic,
            execution,
            prefetch=handler.prefetch,
            reruns=contract.reruns,
            service=handler.service,
            check=execution.gate,
        )
        executions.append(execution)
    return executions


def _needs_keys(handler: Handler) -> str:
    """What to say of a handler that verifies who calls, where it cannot."""
    return f'service {handler.service} has trust="verified" and needs the public keys of the edge'


def open_trust(services: Iterable[Service], settings: TrustSettings) -> "Trust | None":
    """The keys of the edge, where a service verifies who calls; None where none does.

    Raises:
        ServiceError: they are not configured, or the library for them is not installed.
    """
    verified = next((each for service in services for each in service if each.trust == "verified"), None)
    if verified is None:
        return None
    if not settings.enabled:
        raise ServiceError(f"{_needs_keys(verified)}: name them in [worker.trust]")
    try:
        from .trust import Trust  # noqa: PLC0415 - needs cryptography
    except ModuleNotFoundError as error:
        raise ServiceError(f"{_needs_keys(verified)}, and {error.name}: {TRUST_CURE}") from None
    try:
        return Trust(settings)
    except ValueError as error:
        raise ServiceError(f"worker.trust.jwks: {error}") from None


def _plain(bus: Bus) -> Callable[..., Execution]:
    return partial(Execution, calls=Calls(bus))


def _traced(bus: Bus, spans: "Spans") -> Callable[..., Execution]:
    from .tracing import TracedCalls, TracedExecution  # noqa: PLC0415 - needs OpenTelemetry

    return partial(TracedExecution, calls=TracedCalls(bus, spans), spans=spans)


def handlers_of(services: Iterable[Service]) -> list[Handler]:
    """The handlers of services that one process can serve together.

    Raises:
        ServiceError: a service has none, or one topic has two.
    """
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
    beside: Callable[[WorkerMetrics], AbstractAsyncContextManager[object]] = nullcontext,
    on_drain: Callable[[], None] = lambda: None,
    admin: str = "",
    spans: "Spans | None" = None,
) -> int:
    """Serve until `stop` is set, then drain: take no more, finish what runs.

    Args:
        services: all that this process serves.
        bus: not started yet; it is closed at the end.
        stop: set it to end, from a signal handler for instance.
        ready: called once calls are taken.
        settings: times for running handlers, `grace` and `cancel_grace`; and `trust`.
        wait: seconds to wait for the broker at the start.
        beside: what is open from before the broker is reached until all is drained: the operator's listener.
        on_drain: called when an operator tells this process to drain, before `stop` is set.
        admin: the host and port of the operator's listener, to be announced; empty: there is none.
        spans: where traces go; None: nowhere.

    Returns:
        The exit code: 0, or 1 when a handler was cut short by the end of the grace.

    Raises:
        ServiceError: the services cannot be served together.
        BusError: the broker cannot be used.
    """
    settings = settings or WorkerSettings()
    trust = open_trust(services, settings.trust)
    executions = serve(services, bus, cancel_grace=settings.cancel_grace, spans=spans, trust=trust)

    def leave() -> None:
        on_drain()
        stop.set()

    async with trust or nullcontext(), beside(WorkerMetrics(bus, executions, trust)):
        try:
            await bus.start(wait)
            log.info("worker ready", handlers={each.topic: each.handler.prefetch for each in executions})
            contracts = [(each.handler.contract, each.handler.service) for each in executions]
            async with joined(
                bus,
                kind="worker",
                contracts=contracts,
                on_drain=leave,
                admin=admin,
                stuck=lambda: sum(each.watch.stuck for each in executions),
            ) as drains:
                ready()
                await stop.wait()
                log.info("worker drains", grace=settings.grace)
                drains()
                whole = await bus.drain(settings.grace)
        finally:
            await bus.close()
            for execution in executions:
                execution.close()
    log.info("worker stopped", cut=not whole)
    return 0 if whole else 1
