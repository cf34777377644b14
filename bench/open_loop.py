"""A load at a rate of its own, whatever the answers do: an open loop, as many independent clients are one.

    python -m bench.open_loop URL --rate 800 --seconds 30 --header "Authorization: Bearer ..."   # prints JSON

All connections are opened before it starts. A time is counted from the moment at which its request was due, so
that neither a server that stalls nor a want of free connections can hide.
"""

import argparse
import asyncio
import json
import time
from collections import Counter, deque

import uvloop

from bench.client import Client, Target, header

TICK = 0.001
CONNECTIONS = 3_000
"""More than calls may wait; fewer than an edge takes from one address."""
OPENED_AT_A_TIME = 64
PROMPT_MS = 50.0
LAST_ANSWERS = 7.0
"""Seconds for what is on its way at the end: more than the budget of a call."""


class OpenLoop:
    """Sends `rate` requests each second for so many seconds. An answer within `budget` seconds is in time."""

    def __init__(self, target: Target, *, rate: float, seconds: float, budget: float) -> None:
        self._target = target
        self._rate = rate
        self._seconds = seconds
        self._budget = budget
        self._free: list[Client] = []
        self._due: deque[float] = deque()
        self._running = 0
        self._start = 0.0
        self.statuses: Counter[int] = Counter()
        self.good: list[float] = []
        self.refused: list[float] = []
        self.good_while_it_ran = 0
        self.without_retry_after = 0

    async def run(self) -> None:
        turns = asyncio.Semaphore(OPENED_AT_A_TIME)
        await asyncio.gather(*(self._open(turns) for _ in range(CONNECTIONS)))
        self._start = start = time.monotonic()
        made = 0
        while (elapsed := time.monotonic() - start) < self._seconds:
            for number in range(made, int(elapsed * self._rate)):
                self._make(start + number / self._rate)
                made = number + 1
            await asyncio.sleep(TICK)
        end = time.monotonic() + LAST_ANSWERS
        while (self._running or self._due) and time.monotonic() < end:  # noqa: ASYNC110 - no answer sets an event
            await asyncio.sleep(0.05)

    async def _open(self, turns: asyncio.Semaphore) -> None:
        async with turns:
            _, client = await asyncio.get_running_loop().create_connection(
                lambda: Client(self._on_answer), self._target.host, self._target.port
            )
            self._free.append(client)

    def _make(self, due: float) -> None:
        if self._free:
            self._send(self._free.pop(), due)
        else:
            self._due.append(due)

    def _send(self, client: Client, due: float) -> None:
        self._running += 1
        client.send(self._target, due)

    def _on_answer(self, client: Client, head: bytes | None, now: float) -> None:
        self._running -= 1
        status = 0 if head is None else int(head[9:12])
        self.statuses[status] += 1
        took = (now - client.due) * 1000
        if head is None:
            return
        if status == 200:
            self.good.append(took)
            self.good_while_it_ran += now < self._start + self._seconds
        elif status == 503:
            self.refused.append(took)
            self.without_retry_after += header(head, b"retry-after") is None
        if self._due:
            self._send(client, self._due.popleft())
        else:
            self._free.append(client)

    def figures(self) -> dict[str, object]:
        """What came back; status 0 is a connection that fell."""
        refused, good = sorted(self.refused), sorted(self.good)
        return {
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "unanswered": self._running + len(self._due),
            "goodput": self.good_while_it_ran / self._seconds,
            "in_time": sum(took <= self._budget * 1000 for took in good),
            "good_p50_ms": _part(good, 0.5),
            "good_p99_ms": _part(good, 0.99),
            "good_max_ms": _part(good, 1),
            "refused_p50_ms": _part(refused, 0.5),
            "refused_p99_ms": _part(refused, 0.99),
            "refused_max_ms": _part(refused, 1),
            "refused_promptly": sum(took <= PROMPT_MS for took in refused) / max(len(refused), 1),
            "without_retry_after": self.without_retry_after,
        }


def _part(ordered: list[float], share: float) -> float | None:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else None


async def main(options: argparse.Namespace) -> None:
    headers = dict(text.split(": ", 1) for text in options.header)
    target = Target.of(options.url, headers)
    load = OpenLoop(target, rate=options.rate, seconds=options.seconds, budget=options.budget)
    await load.run()
    print(json.dumps(load.figures()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--budget", type=float, default=5.0, help="seconds within which an answer is in time")
    parser.add_argument("--header", action="append", default=[])
    uvloop.run(main(parser.parse_args()))
