"""A whole edge over a real socket: what its parts decide, as clients see it."""

import asyncio
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import jwt
import pytest
from pydantic import BaseModel
from support.site import serving

from busgate.bus import Bus, Delivery
from busgate.bus.embedded import EmbeddedBroker
from busgate.contracts import Call, Caller, Catalog, Nothing, http
from busgate.edge.app import Edge
from busgate.edge.records import Batch, Recorder, json_lines
from busgate.edge.settings import EdgeSettings
from busgate.workers import Context, Service

PATIENCE = 10.0
SECRET = "s" * 32
ISSUER = {"issuer": "me", "audience": "shop", "keys": [{"secret": SECRET}], "revoked": ["gone"]}


class Thing(BaseModel):
    name: str


look = Call("shop.look.v1", http.get("/things/{name}"), request=Thing, reply=Thing)
make = Call("shop.make.v1", http.post("/make"), request=Thing, reply=Thing)


def token(*, typ: str | None = "at+jwt", secret: str | None = SECRET, **claims: Any) -> str:
    """A good token but for the changes; without a secret it is one that nobody signed."""
    now = int(time.time())
    good = {"iss": "me", "aud": "shop", "sub": "ann", "iat": now, "exp": now + 60}
    return jwt.encode(good | claims, secret or "", "HS256" if secret else "none", headers={"typ": typ})


def bearer(text: str) -> bytes:
    return f"Authorization: Bearer {text}".encode()


class Answer:
    def __init__(self, text: bytes) -> None:
        head, _, self.body = text.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}


class House:
    """An edge, and a service that answers everything; `ran` are the topics of what it did."""

    def __init__(self, port: int, edge: Edge, ran: list[str], lines: list[str]) -> None:
        self.edge = edge
        self.ran = ran
        self.lines = lines
        self._port = port

    async def ask(self, line: str, *headers: bytes) -> Answer:
        """Send these lines, and read until the edge hangs up."""
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                head = [f"{line} HTTP/1.1".encode(), b"Host: h", b"Connection: close", *headers, b"", b""]
                writer.write(b"\r\n".join(head))
                return Answer(await reader.read())
            finally:
                writer.close()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    ran: list[str] = []
    lines: list[str] = []

    def reply_to(topic: str) -> Callable[[Delivery], Awaitable[tuple[bytes, bytes]]]:
        async def reply(_: Delivery) -> tuple[bytes, bytes]:
            ran.append(topic)
            return b"reply", b'{"name":"a"}'

        return reply

    def take(batch: Batch) -> None:
        lines.extend(json_lines(batch, 0.0))

    async with AsyncExitStack() as closing:
        broker = EmbeddedBroker()
        worker = Bus(broker, name="worker")
        for call in (look, make):
            worker.serve(call.topic, reply_to(call.topic), prefetch=10, reruns=True, service="shop")
        await closing.enter_async_context(worker)
        bus = await closing.enter_async_context(Bus(broker, name="edge"))
        settings = EdgeSettings.model_validate({"jwt": [ISSUER]})
        edge = Edge(Catalog([look, make]), settings, bus, recorder=Recorder(take))
        closing.push_async_callback(edge.close)
        listener = socket.create_server(("127.0.0.1", 0))
        await edge.start(listener)
        yield House(listener.getsockname()[1], edge, ran, lines)


async def test_head_has_the_headers_of_get_and_no_body(house: House) -> None:
    """K16."""
    get = await house.ask("GET /things/a", bearer(token()))
    head = await house.ask("HEAD /things/a", bearer(token()))

    assert (get.status, head.status, get.body, head.body) == (200, 200, b'{"name":"a"}', b"")
    assert {**head.headers, "x-request-id": ""} == {**get.headers, "x-request-id": ""}


async def test_head_runs_nothing_that_is_not_for_get(house: House) -> None:
    """K16."""
    answer = await house.ask("HEAD /make", bearer(token()))

    assert (answer.status, answer.headers["allow"], answer.body, house.ran) == (405, "POST", b"", [])


async def test_two_authorizations_are_refused_whatever_they_hold(house: House) -> None:
    """T53."""
    for second in (bearer(token()), b"authorization: Basic YTpi"):
        answer = await house.ask("GET /things/a", bearer(token()), second)

        assert (answer.status, house.ran) == (400, [])


@pytest.mark.parametrize("name", ["access_token", "token", "jwt"])
async def test_a_token_in_the_query_is_no_credential_and_is_never_logged(
    house: House, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """T54."""
    caplog.set_level(logging.DEBUG)
    text = token()

    answer = await house.ask(f"GET /things/a?{name}={text}")
    await house.edge.close()

    assert (answer.status, house.ran) == (401, [])
    assert json.loads(house.lines[0])["status"] == 401
    assert text not in "".join(house.lines) + caplog.text + answer.body.decode()


async def test_a_token_of_a_megabyte_is_not_even_read(house: House) -> None:
    """T49."""
    answer = await house.ask("GET /things/a", bearer("a" * 1_000_000))

    assert answer.status == 431


BAD: dict[str, Callable[[], str]] = {
    "T01 alg none": lambda: token(secret=None),
    "T10 another secret": lambda: token(secret="t" * 32),
    "T12 no JWT": lambda: "opaque",
    "T16 expired": lambda: token(exp=int(time.time()) - 60),
    "T23 lives too long": lambda: token(exp=int(time.time()) + 10**6),
    "T25 for others": lambda: token(aud="bank"),
    "T27 of others": lambda: token(iss="you"),
    "T29 nobody": lambda: token(sub=""),
    "T30 an ID token": lambda: token(at_hash="x"),
    "T32 without typ": lambda: token(typ=None),
    "T57 revoked": lambda: token(jti="gone"),
    "T61 bound to a key": lambda: token(cnf={"x5t#S256": "x"}),
}


async def test_tokens_that_do_not_hold_are_refused_in_one_voice_whatever_is_wrong(house: House) -> None:
    answers = {name: await house.ask("GET /things/a", bearer(make())) for name, make in BAD.items()}

    voices = set()
    for answer in answers.values():
        document = json.loads(answer.body)
        assert document.pop("instance") == f"urn:busgate:request:{answer.headers.pop('x-request-id')}"
        del answer.headers["date"]
        voices.add(json.dumps([answer.status, document, answer.headers]))
    ((status, *_),) = map(json.loads, voices)
    assert (status, house.ran) == (401, [])


# -- what the record of a failure says

behind = Call("shop.behind.v1", http.get("/behind"), request=Nothing, reply=Thing, public=True)
above = Call("shop.above.v1", http.get("/above"), request=Nothing, reply=Thing, public=True)
shut = Call("shop.shut.v1", http.get("/shut"), request=Nothing, reply=Thing, scopes={"key"})
shop = Service("shop")


@shop.handles(above)
async def asks_behind(request: Nothing, context: Context) -> Thing:
    return await context.call(behind, request)


@pytest.mark.parametrize(
    ("path", "failure", "reason"),
    [
        ("/above", "nested-failure", "shop.behind.v1: no-route"),
        ("/shut", "forbidden", "the contract asks for scopes that the caller lacks: key"),
        ("/nowhere", "not-found", "There is nothing here"),
        ("/behind", "no-route", ""),
    ],
)
async def test_the_record_of_a_failure_says_what_is_known_of_it(path: str, failure: str, reason: str) -> None:
    async with serving([above, behind, shut], [shop]) as site:
        await site.as_caller(Caller("ann"), "GET", path)
        site.edge._recorder.flush()
        (line,) = json_lines(site.records, 0.0)

    assert (json.loads(line)["failure"], json.loads(line)["reason"]) == (failure, reason)
