"""HTTP callers: single requests, and a steady load of them that goes on while something breaks."""

import asyncio
import itertools
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import jwt

from busgate.contracts import Call

from .contracts import SCOPE, nowhere, read, write
from .history import CLOSED, HUNG_UP, Answer, History

ISSUER, SECRET = "https://issuer.test", "s" * 40
NAMES = ("ann", "bob", "eve", "zoe")
PAUSE = 0.02
"""Seconds that a caller waits after a refusal; who gets Retry-After waits longer than this in real life."""


def token(name: str, scope: str = SCOPE) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "probe", "sub": name, "iat": now, "exp": now + 3600, "scope": scope}
    return jwt.encode(claims, SECRET, algorithm="HS256", headers={"typ": "at+jwt"})


class Callers:
    """Use it as a context manager. Every request is noted in the history."""

    def __init__(self, base: str, history: History) -> None:
        self._base = base
        self._history = history
        self._tokens = {name: token(name) for name in NAMES}
        self._names = itertools.cycle(NAMES)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def close(self) -> None:
        await self._session.close()

    async def ask(self, call: Call[Any, Any], *, wait: int | None = None, **fields: Any) -> Answer:
        """Call a contract. `wait` is the budget in seconds that the caller prefers."""
        nonce = uuid.uuid4().hex
        headers = {} if wait is None else {"Prefer": f"wait={wait}"}
        if call.http.method == "GET":
            path = call.http.path.replace("{nonce}", nonce)
            return await self.send("GET", path, nonce=nonce, topic=call.topic, headers=headers, params=fields)
        body = {"nonce": nonce, **fields}
        return await self.send("POST", call.http.path, nonce=nonce, topic=call.topic, headers=headers, json=body)

    async def send(
        self, method: str, path: str, *, nonce: str, topic: str = "", headers: dict[str, str], refused: int | None = None,
        **content: Any,
    ) -> Answer:  # fmt: skip
        """Send a request of any kind, and note how it ended."""
        name = next(self._names)
        headers = {"Authorization": f"Bearer {self._tokens[name]}", **headers}
        self._history.asked[nonce] += 1
        sent = time.monotonic()
        answer = Answer(nonce, topic, name, sent, 0.0, HUNG_UP, {}, {}, refused=refused)
        try:
            async with self._session.request(method, self._base + path, headers=headers, **content) as response:
                answer.text = await response.text()
                answer.status = response.status
                answer.headers = {name.lower(): value for name, value in response.headers.items()}
                if "json" in response.content_type:
                    answer.body = await response.json(content_type=None)
        except aiohttp.ClientError:
            answer.status = CLOSED
        finally:
            answer.took = time.monotonic() - sent
            self._history.answers.append(answer)
        return answer

    async def ask_badly(self) -> Answer:
        """A request that the edge must refuse, whatever the bus does (I12)."""
        nonce = uuid.uuid4().hex
        status, method, path, content = random.choice(_BAD)
        headers = content.get("headers", {})
        rest = {name: value for name, value in content.items() if name != "headers"}
        return await self.send(method, path, nonce=nonce, headers=headers, refused=status, **rest)

    @asynccontextmanager
    async def load(self, count: int = 24, *, wait: int | None = 2, ms: int = 40) -> AsyncIterator["Load"]:
        """Keep so many callers calling, each one after the other."""
        load = Load(self, self._history, wait=wait, ms=ms)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                tasks.create_task(load.keep_calling())
            try:
                yield load
            finally:
                load.stopped = True


_BAD: list[tuple[int, str, str, dict[str, Any]]] = [
    (422, "POST", write.http.path, {"json": {"nonce": 7}}),
    (422, "GET", "/read/x", {"params": {"ms": "soon"}}),
    (400, "POST", write.http.path, {"data": b'{"nonce": ', "headers": {"Content-Type": "application/json"}}),
    (415, "POST", write.http.path, {"data": b"nonce=x", "headers": {"Content-Type": "text/plain"}}),
    (401, "GET", "/read/x", {"headers": {"Authorization": "Bearer nonsense"}}),
    (404, "GET", "/neverland", {}),
    (405, "DELETE", nowhere.http.path.replace("{nonce}", "x"), {}),
]


class Load:
    """Callers at work."""

    def __init__(self, callers: Callers, history: History, *, wait: int | None, ms: int) -> None:
        self.stopped = False
        self._callers = callers
        self._history = history
        self._wait = wait
        self._ms = ms

    async def keep_calling(self) -> None:
        while not self.stopped:
            if random.random() < 0.1:
                await self._callers.ask_badly()
                continue
            call = random.choice((read, write))
            answer = await self._callers.ask(call, wait=self._wait, ms=random.randrange(self._ms + 1))
            if not answer.good:
                await asyncio.sleep(PAUSE)

    async def until(self, condition: Callable[[], object], *, limit: float = 20.0) -> None:
        """Let it run until something is true."""
        async with asyncio.timeout(limit):
            while not condition():
                await asyncio.sleep(0.005)

    async def flow(self, number: int = 100, *, limit: float = 40.0) -> None:
        """Wait until so many in a row succeeded, all asked after now."""
        start = time.monotonic()
        await self.until(lambda: self._streak(start) >= number, limit=limit)

    def _streak(self, start: float) -> int:
        answers = self._history.since(start)
        good = itertools.takewhile(lambda answer: answer.good, reversed(answers))
        return sum(1 for _ in good)
