"""Section `memory`: idle processes, and thousands of calls that wait."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.gateway import Gateway, GatewayError, Setup, gateway
from bench.processes import ROOT, rss
from bench.report import Row, Table
from bench.room import JSON, Room, bare_echo, free_port, say
from bench.wrk import wrk

ROOM_FOR_ALL = {"BUSGATE_BUS__MAX_WAITING": "20000", "BUSGATE_EDGE__LIMITS__CONNECTIONS_PER_ADDRESS": "20000"}
SETTLED = 2.0
"""Seconds until all that was sent has arrived."""
MIB = 1024 * 1024


def memory(room: Room) -> list[Table]:
    count = 2_000 if room.quick else 10_000
    return [_idle(room), *_waiting(room, count)]


def _idle(room: Room) -> Table:
    say("memory: idle")
    table = Table("Resident memory of an idle process")
    with gateway(Setup(room.bus, free_port())) as ours:
        for name, process in (("edge", ours.edge), ("worker", ours.worker)):
            table.rows.append({"": name, "MiB": rss(process.pid) / MIB})
        room.load(ours, "/echo")
        for row, process in zip(table.rows, (ours.edge, ours.worker), strict=True):
            row["MiB after load"] = rss(process.pid) / MIB
    return table


def _waiting(room: Room, count: int) -> list[Table]:
    bytes_each = Table(f"Memory of {count:,} calls that wait, each on its connection")
    rates = Table(f"The echo beside {count:,} calls that wait, 64 connections")
    with gateway(_setup(room)) as ours:
        room.load(ours, "/echo")  # warm-up
        rates.rows.append({"waiting": 0, **room.load(ours, "/echo")})
        with _held(ours.base, ours.headers, count, ours.edge.pid) as row:
            bytes_each.rows.append({"": "busgate edge", **row})
            rates.rows.append({"waiting": count, **room.load(ours, "/echo")})
        _see_it_alive(ours)
        rates.rows.append({"waiting": 0, **room.load(ours, "/echo")})
    with bare_echo() as (base, process):
        wrk(base + "/echo", JSON, connections=64, seconds=1)
        with _held(base, JSON, count, process.pid) as row:
            bytes_each.rows.append({"": "bare aiohttp", **row})
    return [bytes_each, rates]


def _setup(room: Room) -> Setup:
    return Setup(
        room.bus,
        free_port(),
        contracts=["bench.loads"],
        services=["bench.loads:holds"],
        environ=ROOM_FOR_ALL,
    )


@contextmanager
def _held(base: str, headers: dict[str, str], count: int, pid: int) -> Iterator[Row]:
    """Hold so many calls; what each of them costs the process."""
    say(f"memory: {count} calls wait at {base}")
    before = rss(pid)
    command = [sys.executable, "-m", "bench.hold", base + "/hold", "--count", str(count)]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    holder = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"sent\n":
            raise GatewayError("the calls that are to wait could not be sent")
        time.sleep(SETTLED)
        after = rss(pid)
        yield {"MiB before": before / MIB, "MiB with them": after / MIB, "kB each": (after - before) / count / 1e3}
        answered = int(holder.communicate(timeout=30)[0])
        if answered:
            raise GatewayError(f"{answered} of the calls that were to wait were answered")
    finally:
        if holder.poll() is None:
            os.kill(holder.pid, signal.SIGKILL)
        holder.wait()


def _see_it_alive(ours: Gateway) -> None:
    time.sleep(SETTLED)
    say(f"memory: all gone, the edge holds {rss(ours.edge.pid) / MIB:.0f} MiB")
