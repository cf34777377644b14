"""Section `rate`: calls per second beside two bounds, a bare aiohttp echo and a bare lane call."""

import json
import subprocess
import sys
from itertools import product

from bench.gateway import Gateway, Setup, gateway
from bench.processes import ROOT, cpu_seconds
from bench.report import Row, Table
from bench.room import JSON, Room, bare_echo, free_port, medians, number, say
from bench.wrk import wrk

OURS, AIOHTTP, LANE = "busgate", "a: bare aiohttp echo", "b: bare lane call"


def rate(room: Room) -> list[Table]:
    """Measure all three in turns, at rising numbers of connections."""
    counts = (1, 64) if room.quick else (1, 16, 64, 256)
    rows: dict[tuple[int, str], list[Row]] = {key: [] for key in product(counts, (OURS, AIOHTTP, LANE))}
    with gateway(Setup(room.bus, free_port())) as ours, bare_echo() as (bare, process):
        _warm_up(ours, bare)
        for turn, connections in product(range(room.rounds), counts):
            say(f"rate: round {turn + 1} of {room.rounds}, {connections} connections")
            rows[connections, OURS].append(room.load(ours, "/echo", connections))
            rows[connections, AIOHTTP].append(_bare(room, bare, process.pid, connections))
            rows[connections, LANE].append(_lane(room, ours, connections))
    middle = {key: medians(found) for key, found in rows.items()}
    return [_rates(middle), _reached(middle, counts)]


def _rates(middle: dict[tuple[int, str], Row]) -> Table:
    table = Table("Rate, times and CPU time per call")
    for (connections, name), row in middle.items():
        table.rows.append({"": name, "connections": connections, **row})
    table.notes.append(
        "`edge us` is of the process that starts the call: the edge, the bare aiohttp, or the bare caller."
    )
    return table


def _reached(middle: dict[tuple[int, str], Row], counts: tuple[int, ...]) -> Table:
    table = Table("Beside the bounds")
    for connections in counts:
        ours, a, b = (middle[connections, name] for name in (OURS, AIOHTTP, LANE))
        bound = 1 / (1 / number(a, "calls/s") + 1 / number(b, "calls/s"))
        both = number(a, "p50 ms") + number(b, "p50 ms")
        table.rows.append(
            {
                "connections": connections,
                "1/(1/a + 1/b)": bound,
                "calls/s": ours["calls/s"],
                "reached": f"{number(ours, 'calls/s') / bound:.0%}",
                "p50 of a + b, ms": both,
                "p50 ms": ours["p50 ms"],
                "times": number(ours, "p50 ms") / both,
            }
        )
    return table


def _warm_up(ours: Gateway, bare: str) -> None:
    wrk(ours.base + "/echo", ours.headers, connections=16, seconds=2)
    wrk(bare + "/echo", JSON, connections=16, seconds=1)


def _bare(room: Room, base: str, pid: int, connections: int) -> Row:
    before = cpu_seconds([pid])
    run = wrk(base + "/echo", JSON, connections=connections, seconds=room.seconds)
    return {
        "calls/s": run.rate,
        "p50 ms": run.p50_ms,
        "p99 ms": run.p99_ms,
        "edge us": (cpu_seconds([pid]) - before) / run.requests * 1e6,
        "worker us": None,
        "broker us": None,
        "failed": run.failed,
    }


def _lane(room: Room, ours: Gateway, concurrency: int) -> Row:
    command = [sys.executable, "-m", "bench.lane", room.bus]
    command += ["--concurrency", str(concurrency), "--seconds", str(room.seconds)]
    pids = [[ours.worker.pid], room.broker]
    before = [cpu_seconds(each) for each in pids]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=room.seconds + 30)
    after = [cpu_seconds(each) for each in pids]
    figures = json.loads(done.stdout)
    worker, broker = ((b - a) / figures["all_requests"] * 1e6 for a, b in zip(before, after, strict=True))
    return {
        "calls/s": figures["rate"],
        "p50 ms": figures["p50_ms"],
        "p99 ms": figures["p99_ms"],
        "edge us": figures["cpu_us"],
        "worker us": worker,
        "broker us": broker if room.broker else None,
        "failed": 0,
    }
