"""`busgate drain ID`: tell one process to take no more work, finish what it has, and end."""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import TypeVar

from busgate.bus import Presence, RollCall, SilentProcess, roll_call
from busgate.bus.presence import drain_key
from busgate.ops.faults import CommandError
from busgate.ops.loading import control_address, read_settings
from busgate.ops.settings import BusProcess
from busgate.ops.survey import BLOCKED

HEARD_WITHIN = 5.0
"""Seconds within which a process says that it drains."""
LOOK_EVERY = 0.1
NOT_GONE = 1


def run(options: argparse.Namespace) -> int:
    settings = read_settings(BusProcess, options)
    return asyncio.run(_run(settings, options))


async def _run(settings: BusProcess, options: argparse.Namespace) -> int:
    address = control_address(settings.bus)
    async with roll_call(lambda: address, name="drain") as roll:
        if await roll.is_blocked():
            raise CommandError([f"nobody can be told to drain: {BLOCKED}"])
        process = _chosen(roll, options.id, where=str(address))
        if not await roll.tell(drain_key(process.id)):
            raise CommandError(["the control bus took no message: the connection fell"])
        if not await _until(lambda: roll.is_gone(process.id) or _drains(roll, process.id), HEARD_WITHIN):
            raise CommandError([f"{process.id} did not say within {HEARD_WITHIN:g} s that it drains; is it stuck?"])
        print(f"{process.id} drains", flush=True)
        if not await _until(lambda: roll.is_gone(process.id), options.wait):
            print(f"busgate: {process.id} did not say within {options.wait:g} s that it is gone", file=sys.stderr)
            return NOT_GONE
        print(f"{process.id} is gone")
    return 0


def _chosen(roll: RollCall, wanted: str, *, where: str) -> Presence:
    """The process of that id, or the only one whose id begins or ends so.

    Raises:
        CommandError: there is none, or more than one.
    """
    found = _named(roll.present, wanted)
    if len(found) == 1:
        return found[0]
    if not found and (silent := _named(roll.silent, wanted)):
        one = silent[0]
        raise CommandError(
            [f"{one.id} is silent, so it cannot be told; if it still runs, kill -9 {one.pid} on {one.host}"]
        )
    ids = [each.id for each in roll.present]
    if found:
        raise CommandError([f"{wanted!r} is not one process but {len(found)}: {', '.join(each.id for each in found)}"])
    near = get_close_matches(wanted, ids, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(ids) or 'none'}"
    raise CommandError([f"no process {wanted!r} answers on the control bus of {where}; {hint}"])


ProcessT = TypeVar("ProcessT", Presence, SilentProcess)


def _named(processes: Iterable[ProcessT], wanted: str) -> list[ProcessT]:
    """The one with that id, or all whose id begins or ends so."""
    every = list(processes)
    return [each for each in every if each.id == wanted] or [
        each for each in every if each.id.startswith(wanted) or each.id.endswith(wanted)
    ]


def _drains(roll: RollCall, process_id: str) -> bool:
    return any(each.id == process_id and each.state == "draining" for each in roll.present)


async def _until(condition: Callable[[], bool], within: float) -> bool:
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(LOOK_EVERY)
    return True
