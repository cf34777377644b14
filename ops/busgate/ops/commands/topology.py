"""`busgate topology`: the exchanges and queues of the broker as they are; --apply makes what is missing."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from busgate.bus import Part, Topology
from busgate.ops.catalog_settings import CatalogProcess
from busgate.ops.loading import broker_addresses, read_catalog, read_services, read_settings
from busgate.ops.table import lines

NOT_AS_IT_SHOULD_BE = 1


def run(options: argparse.Namespace) -> int:
    settings = read_settings(CatalogProcess, options)
    topics = _topics(settings)
    address = broker_addresses(settings.bus)[0]
    topology = Topology(address, kind=settings.bus.exchange_kind, audit=settings.edge.audit.to == "exchange")
    parts = asyncio.run(_look(topology, topics, apply=options.apply))
    if options.json:
        print(json.dumps([asdict(part) for part in parts], indent=2))
    else:
        for line in lines((part.what, part.name, part.kind, part.state) for part in parts):
            print(line)
    for part in parts:
        if part.state == "differs":
            print(f"busgate: {part.name}: {part.detail}; delete it, or use another vhost", file=sys.stderr)
    well = all(part.state in ("present", "made") for part in parts)
    return 0 if well else NOT_AS_IT_SHOULD_BE


async def _look(topology: Topology, topics: Sequence[str], *, apply: bool) -> list[Part]:
    """Compare; then make what is missing, unless something differs: that is for a person to decide."""
    async with topology:
        parts = await topology.compare(topics)
        if apply and all(part.state != "differs" for part in parts):
            parts = await topology.make(topics)
    return parts


def _topics(settings: CatalogProcess) -> list[str]:
    """Of contracts and of services, once each."""
    topics = [call.topic for call in read_catalog(settings.edge.contracts)]
    for service in read_services(settings.worker.services):
        topics += [handler.contract.topic for handler in service]
    return list(dict.fromkeys(topics))
