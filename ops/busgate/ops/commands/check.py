"""`busgate check`: load all that edge and workers would, and show it, or every fault of all of it at once."""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterable, Iterator

from busgate.bus import Address, BusError, Topology
from busgate.bus.settings import BusSettings
from busgate.contracts import Catalog, ContractError
from busgate.edge.access import Access
from busgate.edge.docs.files import describe
from busgate.edge.settings import EdgeSettings, faults_with
from busgate.ops import tracing
from busgate.ops.arguments import overrides
from busgate.ops.catalog_settings import NamedModules
from busgate.ops.config import ConfigError, Sources
from busgate.ops.config_warnings import warnings
from busgate.ops.edge_settings import Settings
from busgate.ops.explaining import explain
from busgate.ops.faults import CommandError, lines_of
from busgate.ops.loading import broker_addresses, config_file, try_catalog, try_services
from busgate.ops.report import contract_lines, service_lines, unhandled
from busgate.workers import Service, ServiceError
from busgate.workers.process import handlers_of, open_trust

NOT_WELL = 1


def run(options: argparse.Namespace) -> int:
    file = config_file(options)
    sources = Sources(file, environ=os.environ, overrides=overrides(options))
    settings, errors = _settings(sources)
    catalog, services, more = _modules(sources)
    errors += more
    faults = [line for error in errors for line in lines_of(error) or []]
    if settings is not None:
        faults += [_placed(fault, sources) for fault in _faults_together(settings, catalog)]
        faults += _trust_faults(settings, services)
        topics = [call.topic for call in catalog]
        topics += [handler.contract.topic for service in services for handler in service]
        faults += _broker_faults(settings.bus, dict.fromkeys(topics), ask=options.broker)
    if faults:
        raise CommandError(faults)
    assert settings is not None
    if options.explain:
        return explain(settings.edge, catalog, options)
    for line in _report(settings.edge, catalog, services):
        print(line)
    if options.broker:
        print("broker: answers, and nothing on it differs")
    told = list(warnings(settings, sources, file=file, environ=os.environ))
    sys.stdout.flush()
    for line in told:
        print(f"busgate: warning: {line}", file=sys.stderr)
    return NOT_WELL if told and options.strict else 0


def _settings(sources: Sources) -> tuple[Settings | None, list[Exception]]:
    try:
        return sources.validate(Settings), []
    except ConfigError as error:
        return None, [error]


def _modules(sources: Sources) -> tuple[Catalog, list[Service], list[Exception]]:
    """What of contracts and services can be loaded, even where other values are wrong."""
    try:
        named = sources.validate(NamedModules)
    except ConfigError:  # its faults are told already, as are those of names that cannot be any
        return Catalog([]), [], []
    catalog, errors = try_catalog(filter(_can_be_one, named.edge.contracts))
    services, more = try_services(filter(_can_be_one, named.worker.services))
    try:
        handlers_of(services)
    except ServiceError as error:
        more.append(error)
    return catalog, services, errors + more


def _faults_together(settings: Settings, catalog: Catalog) -> list[str]:
    """What is wrong with values of the configuration together with contracts, or with what is installed."""
    faults = tracing.faults_with(settings.tracing) + faults_with(settings.edge, catalog)
    if settings.edge.docs.enabled:
        try:
            describe(catalog, settings.edge)
        except ContractError as error:
            faults += lines_of(error) or []
    return faults


def _trust_faults(settings: Settings, services: list[Service]) -> list[str]:
    """Why services could not verify who calls."""
    try:
        open_trust(services, settings.worker.trust)
    except ServiceError as error:
        return lines_of(error) or []
    return []


def _can_be_one(name: str) -> bool:
    return all(part.isidentifier() for part in name.replace(":", ".", 1).split("."))


def _placed(fault: str, sources: Sources) -> str:
    key = fault.partition(":")[0]
    path = tuple(int(part) if part.isdigit() else part for part in key.split("."))
    return f"{sources.place(path)}: {fault}" if key.startswith(("edge.", "tracing.")) else fault


def _broker_faults(settings: BusSettings, topics: Iterable[str], *, ask: bool) -> list[str]:
    """Of the files of TLS, and of the broker itself if it is to be asked."""
    if settings.embedded and not ask:
        return []
    try:
        addresses = broker_addresses(settings)
        return [fault for each in addresses for fault in asyncio.run(_ask(each, settings, topics))] if ask else []
    except CommandError as error:
        return error.faults


async def _ask(address: Address, settings: BusSettings, topics: Iterable[str]) -> list[str]:
    """Log in, and compare exchanges and queues with what they should be; what is missing is made at the start."""
    try:
        async with Topology(address, kind=settings.exchange_kind) as topology:
            parts = await topology.compare(topics)
    except BusError as error:
        return lines_of(error) or []
    return [
        f"broker {address}: {part.name}: {part.detail}; delete it, or use another vhost"
        for part in parts
        if part.state == "differs"
    ]


def _report(settings: EdgeSettings, catalog: Catalog, services: list[Service]) -> Iterator[str]:
    yield f"contracts: {len(catalog)}"
    yield from contract_lines(catalog)
    if closed := [call.topic for call in catalog if Access(call, settings.access, settings.access_default).closed]:
        yield f"by edge.access nobody may call: {', '.join(closed)}"
    yield f"services: {len(services)}"
    yield from service_lines(services)
    if services and (lonely := unhandled(catalog, services)):
        yield f"no service here handles: {', '.join(lonely)}"
