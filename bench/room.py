"""What every section of the benchmark is given: the broker, free ports, how long to measure, and how to say so."""

import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.gateway import BODY, Gateway, GatewayError, echoes
from bench.processes import cpu_seconds, listener, running
from bench.report import Row
from bench.wrk import wrk

CONNECTIONS = 64
"""Where nothing else is said."""
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Room:
    """Where and how long to measure.

    Args:
        bus: URL of the broker.
        seconds: of one measurement with wrk.
        rounds: of which the medians are shown; candidates take turns within each.
        quick: only to see that all of it runs.
    """

    bus: str
    seconds: float
    rounds: int
    quick: bool

    @property
    def broker(self) -> list[int]:
        """The broker's process, if it is on this machine."""
        pid = listener(urlsplit(self.bus).port or 5672)
        return [] if pid is None else [pid]

    def load(
        self,
        gateway: Gateway,
        path: str,
        connections: int = CONNECTIONS,
        body: bytes = BODY,
        *,
        headers: Mapping[str, str] | None = None,
        each: Iterable[Mapping[str, str]] = (),
    ) -> Row:
        """Load the gateway; rates, times, and CPU time per call of all that take part.

        `headers`: instead of those with its token. `each`: more of them, of one request after the other.
        """
        broker = self.broker
        before = *gateway.cpu(), cpu_seconds(broker)
        run = wrk(
            gateway.base + path,
            gateway.headers if headers is None else headers,
            connections=connections,
            seconds=self.seconds,
            body=body,
            each=each,
        )
        after = *gateway.cpu(), cpu_seconds(broker)
        edge, worker, rabbit = ((b - a) / run.requests * 1e6 for a, b in zip(before, after, strict=True))
        return {
            "calls/s": run.rate,
            "p50 ms": run.p50_ms,
            "p99 ms": run.p99_ms,
            "edge us": edge,
            "worker us": worker,
            "broker us": rabbit if broker else None,
            "failed": run.failed,
        }


def say(text: str) -> None:
    """A line of progress; tables go to standard output."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def medians(rows: list[Row]) -> Row:
    """One row: the medians of the figures, the sums of the counts."""
    return {key: _middle([row[key] for row in rows]) for key in rows[0]}


def _middle(values: list[str | float | int | None]) -> str | float | int | None:
    if all(isinstance(value, int) for value in values):
        return sum(value for value in values if isinstance(value, int))
    figures = [value for value in values if isinstance(value, int | float)]
    return statistics.median(figures) if figures else values[0]


def number(row: Row, key: str) -> float:
    """A figure that is there."""
    value = row[key]
    assert isinstance(value, int | float)
    return value


@contextmanager
def bare_echo() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The bare aiohttp echo: its URL and its process."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with running("bench.bare", str(port)) as process:
        wait_for(lambda: echoes(base + "/echo", JSON), f"no echo from the bare aiohttp at {base}")
        yield base, process


def wait_for(condition: Callable[[], bool], otherwise: str, seconds: float = 30.0) -> None:
    """Look until it is so.

    Raises:
        GatewayError: it never was.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise GatewayError(otherwise)
        time.sleep(0.05)
