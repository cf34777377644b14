"""`busgate ps`: the edges and workers that are there, those that fell silent, and which contracts they serve in which
version.
"""

import argparse
import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

from busgate.bus import Address, Presence, SilentProcess, roll_call
from busgate.ops.loading import control_address, read_settings
from busgate.ops.screen import DIM, GREEN, RED, YELLOW, paint, show, span, table, wrapped
from busgate.ops.settings import BusProcess
from busgate.ops.survey import BLOCKED, MUTE, Survey, survey

STANDS_OUT = 1
"""Exit code where a contract is served in two versions, or has no worker, or a process is not well."""

_COLOURS = {"serving": GREEN, "draining": YELLOW, "unready": RED}
_HEAD = ["ID", "KIND", "SERVICE", "STATE", "UP", "WAITING", "RUNNING", "CALLS", "HOST", "PID", "ADMIN", "VERSION"]
_SPARE = ["VERSION", "CALLS", "UP", "WAITING", "ADMIN", "RUNNING"]
"""What a narrow terminal leaves out, the first first."""
_SERVICES = 24
"""Characters for the services of a process."""


def run(options: argparse.Namespace) -> int:
    settings = read_settings(BusProcess, options)
    return asyncio.run(_run(settings, options))


async def _run(settings: BusProcess, options: argparse.Namespace) -> int:
    address = control_address(settings.bus)
    async with roll_call(lambda: address, name="ps", wait=0) as roll:
        first = True

        async def draw() -> tuple[list[str], int]:
            nonlocal first
            if not first:
                await roll.ask_again()
            first = False
            look = await survey(roll, settings.bus)
            notes = stands_out(look)
            code = STANDS_OUT if notes or look.nobody else 0
            if options.json:
                return [_json(look, notes)], code
            return _render(look, notes, address), code

        return await show(draw, watch=options.watch)


def _json(look: Survey, notes: list[str]) -> str:
    document = {
        "processes": [presence.model_dump() for presence in look.present],
        "silent": [process.model_dump() for process in look.silent],
        "stands_out": notes,
        "ignored": look.ignored,
    }
    return json.dumps(document, indent=2)


def _render(look: Survey, notes: list[str], address: Address) -> list[str]:
    text = [*_processes(look), "", *_contracts(look.present)] if look.present or look.silent else []
    if look.nobody:
        text = [f"no edge and no worker answered on the control bus of {address}"]
    if notes:
        text += [""] if text else []
        text += [paint(line, RED) for note in notes for line in wrapped(f"! {note}")]
    if look.ignored:
        text.append(paint(f"{look.ignored} messages on the control bus made no sense", DIM))
    return text


def _processes(look: Survey) -> list[str]:
    rows = [_row(each) for each in look.present] + [_silent_row(each) for each in look.silent]
    colours = [_COLOURS[each.state] for each in look.present] + [RED for _ in look.silent]
    first, *rest = table(_HEAD, rows, spare=_SPARE)
    return [paint(first, DIM), *(paint(line, colour) for line, colour in zip(rest, colours, strict=True))]


def _row(each: Presence) -> list[str]:
    return [
        each.id,
        each.kind,
        _fitting({one.service for one in each.contracts if one.service}),
        each.state,
        span((time.time() * 1000 - each.started) / 1000),
        str(each.waiting),
        str(each.running),
        f"{each.calls:,}",
        each.host,
        str(each.pid),
        each.admin or "-",
        each.version,
    ]


def _silent_row(each: SilentProcess) -> list[str]:
    state = f"silent {span(each.seconds)}" if each.seconds else "silent"
    unknown = ["-"] * 4
    return [each.id, each.kind, _fitting(each.services), state, *unknown, each.host, str(each.pid or "-"), "-", "-"]


def _fitting(services: Iterable[str]) -> str:
    """As many names as there is room for, and how many more there are."""
    first, *more = sorted(services) or ["-"]
    whole = ", ".join([first, *more])
    return whole if len(whole) <= _SERVICES or not more else f"{first} +{len(more)}"


def _contracts(present: Sequence[Presence]) -> list[str]:
    rows = []
    for topic, hashes in _versions(present).items():
        edges, workers = _count(present, topic, "edge"), _count(present, topic, "worker")
        versions = ", ".join(f"{one} ({len(who)})" if len(hashes) > 1 else one for one, who in sorted(hashes.items()))
        services = {c.service for each in present for c in each.contracts if c.topic == topic and c.service}
        rows.append([topic, ", ".join(sorted(services)) or "-", str(edges), str(workers), versions])
    head, *rest = table(["CONTRACT", "SERVICE", "EDGES", "WORKERS", "HASH"], rows)
    return [paint(head, DIM), *rest]


def _versions(present: Sequence[Presence]) -> dict[str, dict[str, list[str]]]:
    """By topic and hash: who serves it."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for each in present:
        for contract in each.contracts:
            found[contract.topic][contract.hash].append(each.id)
    return dict(sorted(found.items()))


def _count(present: Sequence[Presence], topic: str, kind: str) -> int:
    return sum(each.kind == kind and any(one.topic == topic for one in each.contracts) for each in present)


def stands_out(look: Survey) -> list[str]:
    """What an operator should look at, a line each."""
    if look.blocked:
        return [BLOCKED]
    if look.mute:
        return [MUTE]
    present = look.present
    if look.gathers and look.silent:
        names = ", ".join(each.id for each in look.silent)
        notes = [f"the broker is back; who is not yet, tries again within half a minute: {names}"]
    else:
        notes = [_hangs(each) for each in look.silent]
    notes += [f"{each.id} is {each.state}: {'; '.join(each.reasons)}" for each in present if each.reasons]
    notes += [_stuck(each) for each in present if each.stuck]
    for topic, hashes in _versions(present).items():
        if len(hashes) > 1:
            who = "; ".join(f"{one} at {', '.join(sorted(names))}" for one, names in sorted(hashes.items()))
            notes.append(f"{topic} is served in {len(hashes)} versions: {who}")
    notes += [_lonely(topic, held, _count(present, topic, "worker")) for topic, held in look.lonely.items()]
    return notes


def _hangs(each: SilentProcess) -> str:
    """What is wrong with a silent process, and the cure."""
    where = f"pid {each.pid} on {each.host}" if each.pid else "its host is not known"
    if not each.seconds:  # the broker has its connection, and nobody heard of it
        cure = f": kill -9 {each.pid} there, start it again" if each.pid else ""
        return (
            f"{each.id} ({where}) gets calls from the broker, but does not answer on the control bus: "
            f"it may not use it (see its log), or it hangs{cure}"
        )
    cure = f"; if it still runs, kill -9 {each.pid} there" if each.pid else ""
    return f"{each.id} ({where}) is silent for {span(each.seconds)}: it hangs, or died without a word{cure}"


def _stuck(each: Presence) -> str:
    handlers = "a handler" if each.stuck == 1 else f"{each.stuck} handlers"
    return (
        f"{each.id} (pid {each.pid} on {each.host}) has {handlers} that nothing can end, `a handler is stuck` in its "
        f"log says which calls: `busgate drain {each.id}`, or kill -9 {each.pid} there, and start it again"
    )


def _lonely(topic: str, held: int | None, workers: int) -> str:
    """What it means to callers that nobody takes calls of a topic, with so many consumers on the broker's side.

    Its `workers` are those that are there and do not take calls: they drain, or are not ready.
    """
    if held == 0:
        which = " that takes calls" if workers else ""
        return f"{topic} has no worker{which}: its callers get 503"
    consumers = "a consumer" if held == 1 else f"{held} consumers"
    holding = "" if held is None else f", though its queue has {consumers}: hung, or not of busgate"
    return (
        f"no worker of {topic} answers{holding}; "
        "its callers get 503, or 504 while the broker still holds the connection of one that hangs"
    )
