"""Table W: what a client sends and a broker must not be told as it is. Seen from a queue on a real RabbitMQ."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

import aio_pika
import pytest
from pydantic import BaseModel
from support.management import Vhost

from busgate.bus import RabbitBroker
from busgate.bus.settings import BusSettings
from busgate.bus.testing import Stage
from busgate.bus.wire import CALLS_EXCHANGE, MARGIN_MS
from busgate.contracts import Call, http
from busgate.edge.testing import HttpHarness
from busgate.workers import Context, Service
from busgate.workers.testing import Harness

PATIENCE = 10.0
TIMEOUT = 5.0


class Thing(BaseModel):
    name: str
    count: int = 0
    text: str = ""
    tree: list[Any] = []
    tenant: Annotated[str, http.Header("X-Tenant")] = ""
    weight: Annotated[float, http.Header("X-Weight")] = 0.0


keep = Call("test.keep.v1", http.post("/things/{name}"), request=Thing, reply=Thing, public=True, timeout=TIMEOUT)
things = Service("things")


@things.handles(keep)
async def kept(request: Thing, context: Context) -> Thing:
    return request


@dataclass
class World:
    """An edge, a service, and a queue of our own beside the service's."""

    host: str
    port: int
    topic: str
    queue: aio_pika.abc.AbstractQueue

    async def ask(self, request: bytes) -> int:
        """The status of the answer to these bytes."""
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(self.host, self.port)
            try:
                writer.write(request)
                return int((await reader.readline()).split()[1])
            finally:
                writer.close()

    async def passed(self) -> aio_pika.abc.AbstractIncomingMessage:
        """The next message on its way to the service."""
        message = await self.queue.get(no_ack=True, timeout=PATIENCE, fail=True)
        assert message is not None
        return message


@pytest.fixture
async def world(vhost: Vhost) -> AsyncIterator[World]:
    harness = Harness(Stage(RabbitBroker(BusSettings.model_validate({"url": vhost.url}).addresses())))
    async with (
        harness.serving(things),
        HttpHarness(harness.stage).serving(keep) as client,
        await aio_pika.connect(vhost.url) as connection,
    ):
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        topic = harness.stage.queue(keep.topic)
        await queue.bind(CALLS_EXCHANGE, topic)
        url = urlsplit(client.address)
        yield World(url.hostname or "", url.port or 0, topic, queue)


def request(*headers: bytes, path: bytes = b"/things/a", body: bytes = b"{}") -> bytes:
    lines = [b"POST %b HTTP/1.1" % path, b"Host: h", b"Content-Type: application/json"]
    return b"\r\n".join([*lines, *headers, b"Content-Length: %d" % len(body), b"", body])


PASSED = {
    "W01 CC": request(b'CC: ["other.topic"]', b'BCC: ["other.topic"]'),
    "W02 CC with a text": request(b"CC: other.topic"),
    "W03 what a broker counts": request(b"x-death: 1", b"x-delivery-count: 9", b"x-first-death-queue: q"),
    "W05 numbers that are none": request(b"X-Number: NaN", b"deadline: inf", b"hops: -Infinity"),
    "W06 numbers that are too large": request(b"X-Number: 9223372036854775808", body=b'{"count":%d}' % 2**70),
    "W08 a long name": request(b"X-%b: a" % (b"n" * 300)),
    "W09 long ids": request(*(b"%b: %b" % (name, b"i" * 300) for name in (b"Correlation-Id", b"Message-Id"))),
    "W10 ids twice": request(b"X-Request-Id: one", b"X-Request-Id: one", b"Message-Id: one"),
    "W11 a user id": request(b"User-Id: admin"),
    "W12 an expiration that is negative": request(b"Expiration: -1", b"Prefer: wait=-1"),
    "W12 an expiration that is huge": request(b"Expiration: 9999999999999", b"Prefer: wait=999999"),
    "W13 a priority": request(b"Priority: 256", b"X-Priority: -1"),
    "W14 where to answer": request(b"Reply-To: amq.topic", b"Type: ping", b"App-Id: x"),
    "W16 several words in a variable": request(path=b"/things/a.b.%23.*"),
    "W17 times": request(b"Timestamp: -1", b"Date: Fri, 31 Dec 10000 23:59:59 GMT"),
    "our own headers": request(b"wire: 2", b"call: x", b"caller: admin", b"service: x", b"traceparent: x"),
    "nothing special": request(),
}


@pytest.mark.parametrize("sent", PASSED.values(), ids=PASSED)
async def test_what_a_client_sends_reaches_the_broker_as_json_alone(world: World, sent: bytes) -> None:
    before = int(time.time())

    assert await world.ask(sent) == 200
    message = await world.passed()

    assert set(message.headers) == {"wire", "call", "deadline", "hops", "traceparent"}
    assert (message.headers["wire"], message.headers["hops"], message.routing_key) == (1, 0, world.topic)
    assert (message.type, message.content_type, message.priority) == ("call", "application/json", 0)
    assert (message.message_id, message.user_id, message.app_id) == (None, None, None)
    assert re.fullmatch(r"[0-9a-f]{32}", str(message.headers["call"]))
    assert re.fullmatch(r"[!-~]{16,64}", message.correlation_id or "")
    assert (message.reply_to or "").startswith("busgate.reply.edge")
    assert message.timestamp is None or before <= message.timestamp.timestamp() <= time.time()
    assert isinstance(message.expiration, int | float)
    assert 0.001 <= message.expiration <= TIMEOUT - MARGIN_MS / 1000


REFUSED = {
    "W04 headers of 200 kB": (431, request(*[b"X-%d: %b" % (n, b"v" * 4000) for n in range(50)])),
    "W05 not a number where a number is read": (422, request(b"X-Weight: NaN")),
    "W05 infinity where a number is read": (422, request(b"X-Weight: inf")),
    "W07 half a surrogate pair in a body": (400, request(body=b'{"text":"\\ud800"}')),
    "W07 half a surrogate pair in a header": (400, request(b"X-Tenant: \xed\xa0\x80")),
    "W08 no name": (400, request(b": a")),
    "W08 a name that is not ASCII": (400, request(b"X-\xc3\xa9: a")),
    "W15 a topic as a path": (404, request(path=b"/test.%23.*")),
    "W15 a topic as a path, long": (404, request(path=b"/" + b"t" * 300)),
    "W18 200 levels": (400, request(body=b'{"tree":%b%b}' % (b"[" * 200, b"]" * 200))),
    "W19 a body of 128 MiB and more": (413, request()[: -len(b"2\r\n\r\n{}")] + b"134217729\r\n\r\n"),
    "W20 NUL in a header": (400, request(b"X-Tenant: a\0b")),
    "W20 NUL in a text": (422, request(body=b'{"text":"a\\u0000b"}')),
}


@pytest.mark.parametrize(("status", "sent"), REFUSED.values(), ids=REFUSED)
async def test_what_no_broker_should_see_is_refused_and_the_next_call_goes_through(
    world: World, status: int, sent: bytes
) -> None:
    refused = await world.ask(sent)
    after = await world.ask(request())

    assert (refused, after) == (status, 200)
    assert (await world.passed()).body == b'{"name":"a"}'
