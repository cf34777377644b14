"""Section `tap`: what a tap on everything costs the calls, while it is read and while nobody reads it."""

from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE

from bench.gateway import Setup, gateway
from bench.processes import running
from bench.report import Row, Table
from bench.room import Room, free_port, medians, number, say, wait_for
from bench.unread import READY

NONE, READ, UNREAD = "no tap", "a tap that is read", "a tap that nobody reads"


def tap(room: Room) -> list[Table]:
    """Load the echo without a tap, with one, and with one whose queue fills up, in turns."""
    rows: dict[str, list[Row]] = {NONE: [], READ: [], UNREAD: []}
    with gateway(Setup(room.bus, free_port())) as ours:
        room.load(ours, "/echo")  # warm-up
        for turn in range(room.rounds):
            say(f"tap: round {turn + 1} of {room.rounds}")
            for name, found in rows.items():
                with _tapped(room, name):
                    found.append(room.load(ours, "/echo"))
    middle = {name: medians(found) for name, found in rows.items()}
    table = Table("The echo under a tap on everything, 64 connections")
    for name, row in middle.items():
        kept = number(row, "calls/s") / number(middle[NONE], "calls/s")
        table.rows.append({"": name, **row, "rate kept": f"{kept:.0%}"})
    return [table]


@contextmanager
def _tapped(room: Room, name: str) -> Iterator[None]:
    if name == NONE:
        yield
        return
    with running("bench.unread", room.bus, "read" if name == READ else "unread", stdout=PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode().strip()
        wait_for(lambda: line == READY, f"the tap does not tap: {line}")
        yield
