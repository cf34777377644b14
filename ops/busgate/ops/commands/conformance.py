"""`busgate conformance`: test a running worker, in whatever language, against the wire format.

Exit codes: 0 it does all that was tested, 1 it does not, 2 it could not be tested.
"""

import argparse
import asyncio
import json
import sys

from busgate.bus import Address, Topology
from busgate.bus.aio import one_line
from busgate.contracts.catalog import AnyCall
from busgate.ops.asking import find_contract, read_caller
from busgate.ops.catalog_settings import CatalogProcess
from busgate.ops.conformance.plan import CHECKS, run_checks
from busgate.ops.conformance.probe import Probe
from busgate.ops.conformance.report import Report
from busgate.ops.conformance.requests import trial_requests
from busgate.ops.conformance.trial import Trial
from busgate.ops.faults import CommandError
from busgate.ops.loading import broker_addresses, read_catalog, read_settings


def run(options: argparse.Namespace) -> int:
    settings = read_settings(CatalogProcess, options)
    contract = find_contract(options.topic, read_catalog(settings.edge.contracts))
    requests = trial_requests(options.request or [], contract)
    address = broker_addresses(settings.bus)[0]
    report = asyncio.run(_try(options, address, requests, contract))
    if options.json:
        print(json.dumps(report.document(), ensure_ascii=False, indent=2))
    else:
        for line in report.lines():
            print(line)
    return 0 if report.conforms else 1


async def _try(
    options: argparse.Namespace, address: Address, requests: list[bytes], contract: AnyCall | None
) -> Report:
    caller = read_caller(options.caller)
    await _must_be_alone(address, options.topic)
    probe = Probe(address, options.topic, caller=caller.to_json().decode() if caller else None, budget=options.timeout)
    with one_line(address):
        async with probe:
            trial = Trial(
                probe,
                requests,
                contract=contract,
                reruns=_reruns(options.redelivery, contract),
                timeout=options.timeout,
                drain=options.drain,
                tell=lambda line: print(f"busgate: {line}", file=sys.stderr, flush=True),
            )
            verdicts = await run_checks(CHECKS, trial)
    return Report(options.topic, trial.service, verdicts)


async def _must_be_alone(address: Address, topic: str) -> None:
    """Of two workers nobody knows which one answers; and a queue that many consume may be in use."""
    async with Topology(address) as topology:
        queue = await topology.depth(topic)
    if queue is None:
        raise CommandError([f"{topic}: there is no such queue on {address}; start the worker first"])
    if not queue.consumers:
        raise CommandError([f"{topic}: nobody consumes it; start the worker first"])
    if queue.consumers > 1:
        raise CommandError([f"{topic}: it has {queue.consumers} consumers; test one alone, on a broker for tests"])


def _reruns(choice: str | None, contract: AnyCall | None) -> bool | None:
    if choice is not None:
        return choice == "run"
    return contract.reruns if contract else None
