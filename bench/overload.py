"""Section `overload`: more calls than the workers can do, from clients that do not wait for each other."""

import json
import subprocess
import sys
import time

from bench.gateway import Gateway, Setup, gateway
from bench.loads import BUSY_AT_A_TIME, BUSY_SECONDS, busy
from bench.processes import ROOT, rss
from bench.report import Row, Table
from bench.room import Room, free_port, number, say
from bench.wrk import wrk

CAPACITY = BUSY_AT_A_TIME / BUSY_SECONDS
"""Calls per second that the worker could do if nothing else took time."""
PATIENCE = {"BUSGATE_EDGE__LIMITS__FIRST_BYTE": "60"}
"""The open loop opens its connections before it needs them."""
MIB = 1024 * 1024
MANY = 3_000
"""Connections: more than may wait, so that the rest is refused as fast as the edge can."""
SETTLED = 5.0
"""Seconds until memory should have reached what it needs."""


def overload(room: Room) -> list[Table]:
    """Offer 2 and 10 times the capacity, steadily."""
    seconds = 6.0 if room.quick else 30.0
    setup = Setup(room.bus, free_port(), contracts=["bench.loads"], services=["bench.loads:loads"], environ=PATIENCE)
    with gateway(setup) as ours:
        say("overload: the peak, from a closed loop")
        peak = number(room.load(ours, "/busy", 32), "calls/s")
        rows = [_offer(ours, factor * CAPACITY, seconds, peak) for factor in (2, 10)]
        say("overload: how fast the edge refuses")
        refusing = _refusing(ours)
    return [_table(rows, seconds, peak, refusing)]


def _table(rows: list[Row], seconds: float, peak: float, refusing: float) -> Table:
    table = Table(f"Overload: a handler of {BUSY_SECONDS * 1000:.0f} ms, {BUSY_AT_A_TIME} at a time")
    names = list(rows[0])
    table.rows = [{"": name, "2 x": rows[0][name], "10 x": rows[1][name]} for name in names]
    table.notes.append(
        f"An open loop for {seconds:.0f} s; times count from when a request was due. The worker can do "
        f"{CAPACITY:.0f} calls/s, a closed loop of 32 connections gets {peak:.0f} (the peak); the budget of "
        f"a call is {busy.timeout:.0f} s. A closed loop of {MANY:,} connections "
        f"is refused {refusing:,.0f} times a second."
    )
    return table


def _refusing(ours: Gateway) -> float:
    """How many calls per second the edge refuses when clients come back at once."""
    seconds = 5
    run = wrk(ours.base + "/busy", ours.headers, connections=MANY, seconds=seconds)
    return run.failed / seconds


def _offer(ours: Gateway, rate: float, seconds: float, peak: float) -> Row:
    say(f"overload: {rate:.0f} calls/s for {seconds:.0f} s")
    command = [sys.executable, "-m", "bench.open_loop", ours.base + "/busy"]
    command += ["--rate", str(rate), "--seconds", str(seconds), "--budget", str(busy.timeout)]
    for name, value in ours.headers.items():
        command += ["--header", f"{name}: {value}"]
    client = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        memory = _watch(ours, client, seconds)
        figures = json.loads(client.communicate(timeout=seconds + 60)[0])
    finally:
        if client.poll() is None:
            client.kill()
        client.wait()
    time.sleep(1)
    return _row(figures, rate, peak, memory)


def _watch(ours: Gateway, client: subprocess.Popen[bytes], seconds: float) -> dict[str, float]:
    """Resident memory, MiB, after `SETTLED` seconds and at the end."""
    end = time.monotonic() + seconds
    settled = time.monotonic() + min(SETTLED, seconds / 2)
    early = None
    while client.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
        if early is None and time.monotonic() > settled:
            early = rss(ours.edge.pid), rss(ours.worker.pid)
    late = rss(ours.edge.pid), rss(ours.worker.pid)
    early = early or late
    names = ("edge early", "worker early", "edge late", "worker late")
    return {name: value / MIB for name, value in zip(names, early + late, strict=True)}


def _row(figures: dict[str, object], rate: float, peak: float, memory: dict[str, float]) -> Row:
    statuses = figures["statuses"]
    assert isinstance(statuses, dict)
    accepted = sum(count for status, count in statuses.items() if status != "503")
    in_time = figures["in_time"]
    assert isinstance(in_time, int)
    goodput = figures["goodput"]
    assert isinstance(goodput, float)
    return {
        "offered, calls/s": rate,
        "goodput, calls/s": goodput,
        "goodput of the peak": f"{goodput / peak:.0%}",
        "answers": ", ".join(f"{status}: {count}" for status, count in statuses.items()),
        "accepted that kept their deadline": f"{in_time / max(accepted, 1):.2%}",
        "accepted, p50 ms": _float(figures["good_p50_ms"]),
        "accepted, p99 ms": _float(figures["good_p99_ms"]),
        "accepted, max ms": _float(figures["good_max_ms"]),
        "refused, p50 ms": _float(figures["refused_p50_ms"]),
        "refused, p99 ms": _float(figures["refused_p99_ms"]),
        "refused, max ms": _float(figures["refused_max_ms"]),
        "refused within 50 ms": f"{_float(figures['refused_promptly']) or 0:.2%}",
        "refused without Retry-After": str(figures["without_retry_after"]),
        "never answered": str(figures["unanswered"]),
        "edge MiB, soon and at the end": f"{memory['edge early']:.1f} {memory['edge late']:.1f}",
        "worker MiB, soon and at the end": f"{memory['worker early']:.1f} {memory['worker late']:.1f}",
    }


def _float(value: object) -> float | None:
    return value if isinstance(value, float) else None
