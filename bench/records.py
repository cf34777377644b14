"""Section `records`: what noting a call costs the edge: the record, its line, and the metrics."""

import asyncio
import os
import time
from collections.abc import Callable

from bench.report import Table
from bench.room import Room, say
from busgate.edge.line_writer import LineWriter
from busgate.edge.metrics import CallMetrics
from busgate.edge.records import Batch, Recorder, RecordLines

BATCH = 200
BATCHES = 100


def records(room: Room) -> list[Table]:
    """Note calls as the edge does, in this process: microseconds of CPU for each, the best of the rounds."""
    say("records")
    return [asyncio.run(_measure(1 if room.quick else 5 * room.rounds))]


async def _measure(rounds: int) -> Table:
    null = os.open(os.devnull, os.O_WRONLY)
    lines = LineWriter(null)
    metrics = CallMetrics()
    takers: dict[str, list[Callable[[Batch], None]]] = {
        "the record alone": [],
        "with metrics": [metrics.take],
        "with metrics and its line": [metrics.take, RecordLines(lines, "json").take],
    }
    table = Table("Noting a call, CPU of the edge")
    for name, chosen in takers.items():
        best = min(_note(Recorder(*chosen)) for _ in range(rounds))
        table.rows.append({"": name, "us": best})
        await asyncio.sleep(0)
    lines.close()
    os.close(null)
    return table


def _note(recorder: Recorder) -> float:
    began = time.process_time()
    for _ in range(BATCHES):
        for number in range(BATCH):
            recorder.record(
                started=1000.0 + number,
                total_ms=8.25,
                method="POST",
                path="/orders",
                topic="shop.orders.place.v1",
                service="orders",
                status=201,
                outcome="executed",
                failure="",
                queue_ms=6.5,
                ran_ms=1.0,
                request_id=b"0123456789abcdef0123456789abcdef",
                caller="customer-4711",
            )
        recorder.flush()
    return (time.process_time() - began) / (BATCHES * BATCH) * 1e6
