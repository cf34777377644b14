"""`busgate check`: load all that edge and workers would, without a broker, and show it or every fault."""

import argparse
from collections.abc import Iterator, Sequence

from busgate.contracts import Catalog
from busgate.contracts.catalog import AnyCall
from busgate.edge.settings import faults_with
from busgate.ops.edge_settings import Settings
from busgate.ops.faults import CommandError
from busgate.ops.loading import read_catalog, read_services, read_settings
from busgate.ops.table import lines
from busgate.workers import Service


def run(options: argparse.Namespace) -> int:
    settings = read_settings(Settings, options)
    faults: list[str] = []
    catalog, services = Catalog([]), []
    try:
        catalog = read_catalog(settings.edge.contracts)
        faults += faults_with(settings.edge, catalog)
    except CommandError as error:
        faults += error.faults
    try:
        services = read_services(settings.worker.services)
    except CommandError as error:
        faults += error.faults
    if faults:
        raise CommandError(faults)
    for line in _report(catalog, services):
        print(line)
    return 0


def _report(catalog: Catalog, services: Sequence[Service]) -> Iterator[str]:
    yield f"contracts: {len(catalog)}"
    yield from lines(_row(call) for call in catalog)
    yield f"services: {len(services)}"
    yield from lines(
        (
            service.name,
            handler.contract.topic,
            f"prefetch {handler.prefetch}",
            "async" if handler.is_async else "threads",
        )
        for service in services
        for handler in service
    )
    handled = {handler.contract.topic for service in services for handler in service}
    lonely = [call.topic for call in catalog if call.topic not in handled] if services else []
    if lonely:
        yield f"no service here handles: {', '.join(lonely)}"


def _row(call: AnyCall) -> tuple[str, ...]:
    scopes = "public" if call.public else " ".join(sorted(call.scopes)) or "any caller"
    return call.http.method, call.http.path, call.topic, scopes, f"{call.timeout:g} s"
