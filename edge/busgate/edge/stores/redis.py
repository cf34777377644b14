"""The store of several machines: Redis or Valkey, over one connection of each process.

The jobs of a turn of the loop make one message, and the next message does not wait for the answer to the last: a
request waits for one round trip, however many there are. A connection that fails is opened anew behind; until it
is there, jobs fail at once.
"""

import asyncio
import math
import random
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha1
from typing import Any, NamedTuple

import structlog
from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .distant import DistantStore
from .health import Health
from .jobs import Chain, Inbox, Job, Put, Waiting
from .redis_script import SCRIPT, arguments, result
from .redis_url import RedisUrl
from .rules import MICROSECONDS
from .store import StoreUnavailable

log = structlog.stdlib.get_logger("busgate.edge")

BATCH = 100
"""Jobs of one message: a script that Redis is done with in a millisecond or two."""
PATIENCE = 1.0
"""Seconds for an answer. Then the connection is given up."""
CONNECT = 2.0
"""Seconds for a connection and its login."""
IDLE = 1.0
"""Seconds without work after which the connection is tried."""
BACKOFF, LONGEST_BACKOFF = 0.05, 2.0
"""Seconds to the second try to connect, with jitter; each one more waits twice as long."""

PROBE = Put("probe:", b"", MICROSECONDS)
"""A job that writes: only its answer says that everything works."""

_SHA = sha1(SCRIPT, usedforsecurity=False).hexdigest()


class _Sent(NamedTuple):
    batch: list[Waiting]
    end: float
    """When its answer is too late."""


class RedisStore(DistantStore):
    """A store for the processes of several machines.

    Args:
        url: where it is.
        clock: microseconds, for tests; None is the clock of the server.
    """

    def __init__(self, url: RedisUrl, *, clock: Callable[[], int] | None = None) -> None:
        self.health = Health("redis", "not connected yet")
        self._url = url
        self._clock = clock
        self._inbox = Inbox(self._wake)
        self._work = asyncio.Event()
        self._sent: deque[_Sent] = deque()
        self._expecting = asyncio.Event()
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connected = False

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())
        await self._tried.wait()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CONNECT)

    def _ask(self, job: Job | Chain) -> asyncio.Future[Any]:
        if not self._connected:
            reason = self.health.reason or "the store is closed"
            self.health.failed(reason)
            raise StoreUnavailable(reason)
        return self._inbox.add(job)

    def _wake(self) -> None:
        self._work.set()

    # -- the connection

    async def _run(self) -> None:
        backoff = BACKOFF
        while True:
            connection = self._new_connection()
            try:
                async with asyncio.timeout(CONNECT):
                    await connection.connect()  # type: ignore[no-untyped-call] # redis has no type there
                    await self._prepare(connection)
                backoff = BACKOFF
                await self._use(connection)
            except* (RedisError, OSError) as errors:  # TimeoutError is an OSError
                self._lost(errors.exceptions[0])
            except* Exception as errors:  # a bug of ours, or an answer that nobody could expect: begin anew
                log.exception("the store failed")
                self._lost(errors.exceptions[0])
            finally:
                self._connected = False
                self._fail_all("the connection to the store fell")
                with suppress(RedisError):
                    await connection.disconnect(nowait=True)
            await asyncio.sleep(random.uniform(backoff / 2, backoff))  # noqa: S311 - jitter is no secret
            backoff = min(2 * backoff, LONGEST_BACKOFF)

    def _new_connection(self) -> Connection:
        url = self._url
        common: dict[str, Any] = {
            "host": url.host,
            "port": url.port,
            "db": url.database,
            "username": url.user,
            "password": None if url.password is None else url.password.get_secret_value(),
            "protocol": 2,
            "client_name": "busgate-edge",
            "driver_info": None,
            "socket_timeout": None,  # all waits are bounded here
            "socket_connect_timeout": CONNECT,
        }
        if not url.tls:
            return Connection(**common)
        return SSLConnection(
            **common,
            ssl_ca_certs=None if url.cafile is None else str(url.cafile),
            ssl_cert_reqs="required",  # not left to what the library takes for granted
            ssl_check_hostname=True,
            ssl_min_version=ssl.TLSVersion.TLSv1_2,
        )

    async def _prepare(self, connection: Connection) -> None:
        """Have the server know the script, and see that it runs there."""
        await connection.send_command("SCRIPT", "LOAD", SCRIPT, check_health=False)
        await connection.read_response(timeout=math.inf)
        await connection.send_command("EVALSHA", _SHA, *self._arguments([PROBE]), check_health=False)
        await connection.read_response(timeout=math.inf)
        await self._warn_of_eviction(connection)

    async def _warn_of_eviction(self, connection: Connection) -> None:
        """A server that throws keys away when it is full forgets who is over a limit, and nonces."""
        await connection.send_command("INFO", "memory", check_health=False)
        try:
            told = str(await connection.read_response(timeout=math.inf), "utf-8", "replace")
        except ResponseError:  # our user may not ask
            return
        known = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
        policy = known.get("maxmemory_policy", "noeviction")
        if policy != "noeviction" and known.get("maxmemory", "0") != "0":
            log.warning("the store may forget limits and nonces: set maxmemory-policy noeviction", policy=policy)

    async def _use(self, connection: Connection) -> None:
        """Work over a connection until it fails."""
        self._connected = True
        self.health.well()
        self._tried.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send(connection))
            tasks.create_task(self._receive(connection))

    async def _send(self, connection: Connection) -> None:
        while True:
            if not self._inbox:
                self._work.clear()
                await self._until_work()
            batch = self._inbox.empty(BATCH)
            if not batch:  # they went with the last message
                continue
            sent = _Sent(batch, asyncio.get_running_loop().time() + PATIENCE)
            self._sent.append(sent)
            self._expecting.set()
            command = self._arguments([waiting.job for waiting in batch])
            async with asyncio.timeout_at(sent.end):
                await connection.send_command("EVALSHA", _SHA, *command, check_health=False)

    async def _until_work(self) -> None:
        """Wait for jobs. Without any, try the connection now and then: else the first to come would find it gone."""
        try:
            async with asyncio.timeout(IDLE):
                await self._work.wait()
        except TimeoutError:
            self._inbox.add(PROBE)

    async def _receive(self, connection: Connection) -> None:
        while True:
            if not self._sent:
                self._expecting.clear()
                await self._expecting.wait()
            batch, end = self._sent[0]
            try:
                async with asyncio.timeout_at(end):
                    told = await connection.read_response(disable_decoding=True, timeout=math.inf)
            except ResponseError as error:  # an answer, and a refusal
                reason = f"redis at {self._url} refuses: {error}"
                self._refused(batch, reason)
                if isinstance(error, NoScriptError | ReadOnlyError):
                    raise  # another server, or one that forgot: connect anew, and prepare it
            else:
                self.health.well()
                for waiting, each in zip(batch, told, strict=True):
                    waiting.tell(result(waiting.job, each))
            self._sent.popleft()

    def _arguments(self, jobs: Sequence[Job | Chain]) -> list[Any]:
        return arguments(jobs, prefix=self._url.prefix, now=None if self._clock is None else self._clock())

    def _refused(self, batch: list[Waiting], reason: str) -> None:
        self.health.failed(reason)
        for waiting in batch:
            waiting.fail(reason)

    def _lost(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        words = "no answer in time" if isinstance(error, TimeoutError | RedisTimeoutError) else str(error)
        self.health.failed(f"redis at {self._url}: {words}")
        self._tried.set()

    def _fail_all(self, reason: str) -> None:
        while self._sent:
            for waiting in self._sent.popleft().batch:
                waiting.fail(reason)
        for waiting in self._inbox.empty(len(self._inbox)):
            waiting.fail(reason)
