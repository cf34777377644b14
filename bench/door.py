"""Section `door`: what each thing at the door adds to a call, beside the path that has none of it.

An edge for each row, all in front of one worker, take turns of a second. Each turn of a row is followed by one of the
path without its feature: on the same edge, where the feature is one of some contracts alone, because two processes that
do the same differ by some microseconds a call; else on an edge that does not have it. All start anew for each round.
What a row adds is the median of its differences within the turns, and the rate that it keeps that of the ratios.
"""

import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bench.features import Feature, features
from bench.gateway import Gateway, Setup, edge, worker
from bench.report import Row, Table
from bench.room import Room, free_port, medians, number, say

MOST = 20_000
"""Requests that are sent in a second, at most: so many are signed for one."""

Turn = tuple[Row, Row | None]
"""Of a row, and of the path without its feature."""


def door(room: Room) -> list[Table]:
    """Load all rows, a second each, again and again."""
    with tempfile.TemporaryDirectory(prefix="busgate-bench-") as folder:
        return [_measure(room, features(Path(folder)))]


def _measure(room: Room, rows: Sequence[Feature]) -> Table:
    turns = 2 if room.quick else round(room.seconds)
    one = replace(room, seconds=1)
    by_name = {row.name: row for row in rows}
    found: dict[str, list[Turn]] = {row.name: [] for row in rows}
    for lap in range(room.rounds):
        with _edges(one, rows) as edges:
            for turn in range(turns):
                say(f"door: round {lap + 1} of {room.rounds}, turn {turn + 1} of {turns}")
                for row in rows if turn % 2 else rows[::-1]:  # so that none always follows the same
                    beside = None if row.beside is None else by_name[row.beside]
                    found[row.name].append(_turn(one, row, beside, edges))
    return _table(rows, found)


@contextmanager
def _edges(room: Room, rows: Sequence[Feature]) -> Iterator[Mapping[str, Gateway]]:
    """An edge for each row, warmed up, by its name."""
    trust = next(row.trust for row in rows if row.trust)
    services = ["bench.loads:loads", "bench.loads:provers"]
    setup = Setup(
        room.bus,
        free_port(),
        contracts=["bench.loads"],
        services=services,
        environ=_environ("WORKER", {"trust": trust}),
    )
    with ExitStack() as stack:
        serving = stack.enter_context(worker(setup))
        edges: dict[str, Gateway] = {}
        for row in rows:
            say(f"door: an edge for: {row.name}")
            own = replace(setup, port=free_port(), environ=_environ("EDGE", row.settings))
            edges[row.name] = stack.enter_context(edge(own, serving))
            _load(room, edges[row.name], row)
        yield edges


def _environ(process: str, settings: Mapping[str, object]) -> dict[str, str]:
    return {f"BUSGATE_{process}__{name.upper()}": json.dumps(value) for name, value in settings.items()}


def _turn(room: Room, row: Feature, beside: Feature | None, edges: Mapping[str, Gateway]) -> Turn:
    own = _load(room, edges[row.name], row)
    return own, None if beside is None else _load(room, edges[beside.name if row.everywhere else row.name], beside)


def _load(room: Room, gateway: Gateway, row: Feature) -> Row:
    each = row.signed(gateway.base + row.path, MOST)
    return room.load(gateway, row.path, body=row.body, headers=row.headers, each=each)


def _table(rows: Sequence[Feature], found: Mapping[str, Sequence[Turn]]) -> Table:
    table = Table("The door, 64 connections")
    for feature in rows:
        turns = found[feature.name]
        row = {"": feature.name, **medians([own for own, _ in turns]), "beside": feature.beside, "edge us more": None}
        row |= {"asked": feature.asked, "worker us more": None, "rate kept": None}
        pairs = [(own, beside) for own, beside in turns if beside is not None]
        table.rows.append({**row, **_beside(pairs)} if pairs else row)
    return table


def _beside(pairs: Sequence[tuple[Row, Row]]) -> Row:
    """What a row adds to another and keeps of it: medians over the turns."""
    edge_us, worker_us = (
        statistics.median(number(one, key) - number(two, key) for one, two in pairs) for key in ("edge us", "worker us")
    )
    kept = statistics.median(number(one, "calls/s") / number(two, "calls/s") for one, two in pairs)
    return {"edge us more": edge_us, "worker us more": worker_us, "rate kept": f"{kept:.0%}"}
