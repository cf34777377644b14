"""`busgate permissions`: the users of RabbitMQ with the least rights that contracts and services need."""

import argparse
import json
import sys
from urllib.parse import unquote, urlsplit

from pydantic import ConfigDict

from busgate.bus.tables import Table
from busgate.bus.topology import ExchangeKind
from busgate.ops.catalog_settings import ContractModules, ServiceNames
from busgate.ops.faults import CommandError
from busgate.ops.loading import read_catalog, read_services, read_settings
from busgate.ops.permissions import definitions, shell_lines, users_for


class BusNames(Table):
    """What of [bus] matters here. The rest is left alone: its secrets need not be on this machine."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    url: object = None
    exchange_kind: ExchangeKind = "direct"


class PermissionsProcess(Table):
    """What `permissions` reads."""

    bus: BusNames = BusNames()
    edge: ContractModules = ContractModules()
    worker: ServiceNames = ServiceNames()


def run(options: argparse.Namespace) -> int:
    settings = read_settings(PermissionsProcess, options)
    catalog, services = read_catalog(settings.edge.contracts), read_services(settings.worker.services)
    if not len(catalog) and not services:
        raise CommandError(["nothing to permit: name contracts and services: busgate permissions shop.contracts"])
    vhost = options.vhost or _vhost(settings.bus.url)
    kind = settings.bus.exchange_kind
    topics = [call.topic for call in catalog]
    if settings.edge.pre_call is not None:
        topics.append(settings.edge.pre_call.topic)
    users = users_for(
        topics,
        services,
        kind=kind,
        one_worker=options.one_worker,
        named=options.named,
        audit=settings.edge.audit.to == "exchange",
    )
    if options.format == "definitions":
        print(json.dumps(definitions(users, vhost), indent=2))
    else:
        print("\n".join(shell_lines(users, vhost)))
    sys.stdout.flush()
    if kind == "direct":
        _note(
            "busgate.calls is of kind direct: whoever may write to it reaches every topic; "
            'with exchange_kind = "topic" in [bus] a user reaches its own'
        )
    silent = [service.name for service in services if not service.calls]
    if silent and not (options.one_worker and any(service.calls for service in services)):
        _note(f"workers that may call nobody, since Service(..., calls=[...]) names none: {', '.join(silent)}")
    return 0


def _vhost(url: object) -> str:
    """That of the broker's address, as far as it stands in the configuration itself."""
    first = url[0] if isinstance(url, list | tuple) and url else url
    if first is None:
        return "/"
    if not isinstance(first, str):
        raise CommandError(["bus.url: stands elsewhere; name the vhost: --vhost NAME"])
    return unquote(urlsplit(first).path[1:]) or "/"


def _note(text: str) -> None:
    print(f"busgate: note: {text}", file=sys.stderr)
