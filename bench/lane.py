"""The second bound: the same calls over the bus alone, from this process to the worker, without HTTP.

python -m bench.lane URL --concurrency 64 --seconds 3      # prints JSON
"""

import argparse
import asyncio
import json
import time

import uvloop

from bench.echo import say
from bench.gateway import BODY
from busgate.bus import Bus, CallContext, Endpoint, Ids, RabbitBroker
from busgate.bus.settings import BusSettings
from busgate.ops.logs import configure
from busgate.ops.settings import LogSettings
from busgate.ops.tuning import settle

WARM_UP = 0.5


class Caller:
    """So many calls at a time, each followed by the next."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.took: list[float] = []
        self._endpoint = endpoint
        self._ids = Ids()

    async def call_until(self, end: float) -> None:
        clock = time.perf_counter
        started = clock()
        while started < end:
            call = self._ids.take(32)
            context = CallContext(call, b"00-%b-%b-01" % (call, self._ids.take(16)), b'{"sub":"bench"}')
            await self._endpoint.call(BODY, context, say.timeout)
            ended = clock()
            self.took.append(ended - started)
            started = ended

    async def load(self, concurrency: int, seconds: float) -> None:
        self.took = []
        end = time.perf_counter() + seconds
        await asyncio.gather(*(self.call_until(end) for _ in range(concurrency)))


async def measure(url: str, *, concurrency: int, seconds: float) -> dict[str, float]:
    broker = RabbitBroker(BusSettings.model_validate({"url": url}).addresses())
    async with Bus(broker, name="bench-lane") as bus:
        caller = Caller(bus.endpoint(say.topic, timeout=say.timeout))
        settle()
        await caller.load(concurrency, WARM_UP)
        warm = len(caller.took)
        started, cpu = time.perf_counter(), time.process_time()
        await caller.load(concurrency, seconds)
        elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    took = sorted(caller.took)
    return {
        "requests": len(took),
        "all_requests": warm + len(took),
        "rate": len(took) / elapsed,
        "p50_ms": took[len(took) // 2] * 1000,
        "p99_ms": took[len(took) * 99 // 100] * 1000,
        "cpu_us": cpu / len(took) * 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    configure(LogSettings(level="warning"))
    figures = measure(options.url, concurrency=options.concurrency, seconds=options.seconds)
    print(json.dumps(uvloop.run(figures)))


if __name__ == "__main__":
    main()
