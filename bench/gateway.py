"""An edge and a worker in processes of their own, started by the same commands as in production."""

import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import jwt

from bench.processes import cpu_seconds, family, running

BODY = b'{"a":1,"b":"hello world"}'
READY_WAIT = 60.0
LIFETIME = 23 * 3600
"""Seconds that a token is good for; the edge takes none of more than a day."""
AUDIENCE = "bench"


class GatewayError(Exception):
    """The gateway does not come up; one line."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What is started.

    Args:
        bus: URL of the broker.
        port: of the edge.
        contracts: modules beside the echo.
        services: beside the echo.
        edges: number of edge processes.
        records: where the edge's line for each call goes.
        environ: more settings, of both.
    """

    bus: str
    port: int
    contracts: Sequence[str] = ()
    services: Sequence[str] = ()
    edges: int = 1
    records: Path = Path("/dev/null")
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running edge and worker."""

    base: str
    token: str
    edge: Popen[bytes]
    worker: Popen[bytes]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}

    def cpu(self) -> tuple[float, float]:
        """CPU seconds of the edge (all its processes) and of the worker."""
        return cpu_seconds(family(self.edge.pid)), cpu_seconds(family(self.worker.pid))


@contextmanager
def gateway(setup: Setup) -> Iterator[Gateway]:
    """Start an edge and a worker, wait until they answer, and end them.

    Raises:
        GatewayError: they do not answer.
    """
    with worker(setup) as serving, edge(setup, serving) as started:
        yield started


@contextmanager
def worker(setup: Setup) -> Iterator[Popen[bytes]]:
    """Start a worker alone; several edges may share it."""
    environ = {**_settings(setup, secrets.token_hex(32)), **setup.environ}
    with running("busgate.ops.main", "worker", "bench.echo:echo", *setup.services, environ=environ) as process:
        yield process


@contextmanager
def edge(setup: Setup, serving: Popen[bytes]) -> Iterator[Gateway]:
    """Start an edge in front of a worker, and wait until it answers.

    Raises:
        GatewayError: it does not answer.
    """
    secret = secrets.token_hex(32)
    environ = {**_settings(setup, secret), **setup.environ}
    with ExitStack() as stack:
        records = stack.enter_context(setup.records.open("ab"))
        command = ("busgate.ops.main", "edge", "bench.echo", *setup.contracts)
        process = stack.enter_context(running(*command, environ=environ, stdout=records))
        started = Gateway(f"http://127.0.0.1:{setup.port}", _token(secret), process, serving)
        _wait_until_it_answers(started)
        yield started


def _settings(setup: Setup, secret: str) -> dict[str, str]:
    issuer = {"issuer": AUDIENCE, "audience": [AUDIENCE], "keys": [{"secret": secret}]}
    return {
        "BUSGATE_BUS__URL": setup.bus,
        "BUSGATE_LOG__LEVEL": "warning",
        "BUSGATE_LOG__FORMAT": "json",
        "BUSGATE_EDGE__PORT": str(setup.port),
        "BUSGATE_EDGE__PROCESSES": str(setup.edges),
        "BUSGATE_EDGE__JWT": json.dumps([issuer]),
        "BUSGATE_EDGE__ADMIN__PORT": "0",
        "BUSGATE_WORKER__GRACE": "1",
    }


def _token(secret: str) -> str:
    now = int(time.time())
    claims = {"iss": AUDIENCE, "aud": AUDIENCE, "sub": "bench", "scope": "echo", "iat": now}
    return jwt.encode({**claims, "exp": now + LIFETIME}, secret, algorithm="HS256")


def _wait_until_it_answers(started: Gateway) -> None:
    end = time.monotonic() + READY_WAIT
    while not echoes(started.base + "/echo", started.headers):
        for name, process in (("edge", started.edge), ("worker", started.worker)):
            if process.poll() is not None:
                raise GatewayError(f"the {name} ended with code {process.returncode}")
        if time.monotonic() > end:
            raise GatewayError(f"no echo from {started.base} in {READY_WAIT:.0f} s")
        time.sleep(0.05)


def echoes(url: str, headers: Mapping[str, str]) -> bool:
    """Whether a POST there is answered with what was sent."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, BODY, dict(headers)), timeout=5) as response:
            return bool(json.load(response) == json.loads(BODY))
    except OSError:
        return False
