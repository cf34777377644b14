"""Section `growth`: many routes, several edge processes, large bodies."""

import time

from bench.gateway import Setup, gateway
from bench.processes import rss
from bench.report import Row, Table
from bench.room import Room, free_port, medians, say
from bench.routes import COUNT

SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
MIB = 1024 * 1024


def growth(room: Room) -> list[Table]:
    return [_routes(room), _edges(room), _bodies(room)]


def _routes(room: Room) -> Table:
    """One route and many, by two gateways in turns, on the same worker's topic."""
    rows: dict[int, list[Row]] = {1: [], COUNT + 1: []}
    say(f"growth: an edge with {COUNT + 1} routes")
    started = time.monotonic()
    with gateway(Setup(room.bus, free_port(), contracts=["bench.routes"])) as many:
        took = time.monotonic() - started
        with gateway(Setup(room.bus, free_port())) as one:
            for turn in range(room.rounds):
                say(f"growth: routes, round {turn + 1} of {room.rounds}")
                rows[1].append(room.load(one, "/echo"))
                rows[COUNT + 1].append(room.load(many, "/echo"))
            memory = {1: rss(one.edge.pid), COUNT + 1: rss(many.edge.pid)}
    table = Table("Routes, 64 connections")
    for count, found in rows.items():
        table.rows.append({"routes": count, **medians(found), "edge MiB": memory[count] / MIB})
    table.notes.append(f"The edge with {COUNT + 1:,} routes answered its first call {took:.1f} s after its start.")
    return table


def _edges(room: Room) -> Table:
    table = Table("Edge processes, 64 connections")
    for count in (1, 2, 3):
        say(f"growth: {count} edge processes")
        with gateway(Setup(room.bus, free_port(), edges=count)) as ours:
            room.load(ours, "/echo")  # warm-up
            found = [room.load(ours, "/echo") for _ in range(room.rounds)]
        table.rows.append({"processes": count, **medians(found)})
    return table


def _bodies(room: Room) -> Table:
    table = Table("Bodies, 16 connections")
    with gateway(Setup(room.bus, free_port())) as ours:
        for size in SIZES:
            say(f"growth: bodies of {size} bytes")
            body = b'{"a":1,"b":"%b"}' % (b"x" * (size - len('{"a":1,"b":""}')))
            row = medians([room.load(ours, "/echo", 16, body) for _ in range(room.rounds)])
            rate = row["calls/s"]
            assert isinstance(rate, float)
            table.rows.append({"bytes": size, **row, "MB/s each way": rate * size / 1e6})
    return table
