"""Section `slow`: what 0.5 % of calls that take 1 s do to the rate of the others."""

from bench.gateway import Setup, gateway
from bench.loads import SLOW_SECONDS, SLOW_SHARE
from bench.report import Row, Table
from bench.room import Room, free_port, medians, number, say

ENOUGH = 256
"""Connections: at 10,000 calls/s some 50 of them wait for a slow call at any time."""


def slow(room: Room) -> list[Table]:
    """Load the same handler with and without slow calls, in turns."""
    even: list[Row] = []
    mixed: list[Row] = []
    setup = Setup(room.bus, free_port(), contracts=["bench.loads"], services=["bench.loads:loads"])
    with gateway(setup) as ours:
        room.load(ours, "/even", ENOUGH)  # warm-up
        for turn in range(room.rounds):
            say(f"slow: round {turn + 1} of {room.rounds}")
            even.append(room.load(ours, "/even", ENOUGH))
            mixed.append(room.load(ours, "/mixed", ENOUGH))
    without, with_slow = medians(even), medians(mixed)
    kept = number(with_slow, "calls/s") / number(without, "calls/s")
    name = f"{SLOW_SHARE:.1%} take {SLOW_SECONDS:.0f} s"
    table = Table(f"Slow handlers, {ENOUGH} connections")
    table.rows = [
        {"": "none is slow", **without, "rate kept": "100%"},
        {"": name, **with_slow, "rate kept": f"{kept:.0%}"},
    ]
    return [table]
