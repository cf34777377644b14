"""The parser against any cutting of the stream, against rubbish, and the lane against servers that are no broker."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pamqp.frame
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pamqp import commands as amqp
from pamqp.body import ContentBody
from pamqp.header import ContentHeader, ProtocolHeader
from pamqp.heartbeat import Heartbeat

from busgate.bus.address import Address
from busgate.bus.connection import FRAME_MAX, Connection
from busgate.bus.lane import open_lane
from busgate.bus.link import BusError, LinkEvents
from busgate.bus.wire import MAX_MESSAGE


def frames(*parts: Any, channel: int = 2) -> bytes:
    return b"".join(part if isinstance(part, bytes) else pamqp.frame.marshal(part, channel) for part in parts)


def deliver(body: bytes = b"{}", *, tag: int = 1, size: int | None = None, chunk: int = 4000) -> bytes:
    properties = amqp.Basic.Properties(
        content_type="application/json", message_type="call", headers={"wire": 1, "call": "x"}
    )
    return frames(
        amqp.Basic.Deliver("t", tag, False, "busgate.calls", "a.b.v1"),
        ContentHeader(0, len(body) if size is None else size, properties),
        *(ContentBody(body[start : start + chunk]) for start in range(0, len(body), chunk)),
    )


returned = frames(
    amqp.Basic.Return(312, "NO_ROUTE", "busgate.calls", "a.b.v1"),
    ContentHeader(0, 2, amqp.Basic.Properties(correlation_id="0" * 32)),
    ContentBody(b"{}"),
    channel=1,
)
pieces = st.one_of(
    st.integers(0, 9000).map(lambda size: deliver(b"y" * size)),
    st.just(returned),
    st.builds(
        lambda tag, multiple: frames(amqp.Basic.Ack(tag, multiple), channel=1), st.integers(1, 2**40), st.booleans()
    ),
    st.builds(
        lambda tag, multiple: frames(amqp.Basic.Nack(tag, multiple), channel=1), st.integers(1, 2**40), st.booleans()
    ),
    st.sampled_from(
        [
            frames(Heartbeat(), channel=0),
            frames(amqp.Connection.Blocked("memory"), channel=0),
            frames(amqp.Connection.Unblocked(), channel=0),
            frames(amqp.Basic.Cancel("queue")),
        ]
    ),
)
endings = st.sampled_from(
    [
        b"",
        b"\x01\x00",
        frames(amqp.Connection.Close(320, "CONNECTION_FORCED", 0, 0), channel=0),
        frames(amqp.Channel.Close(404, "NOT_FOUND", 60, 40)),
        frames(amqp.Queue.PurgeOk(3)),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"AMQP\x00\x01\x00\x00",
        b"AMQ",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x07\x00\x00\x00\x00\x00\x02ab\xce",
        struct.pack(">BHI", 3, 2, FRAME_MAX + 1) + b"a" * 40,
        b"\x01\x00\x02\x00\x00\x00\x04\x00\x3c\x00\x3c\xce",
        b"\x08\x00\x00\x00\x00\x00\x00\x00",
        deliver(size=2**40),
    ]
)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    bounds = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in pairwise(bounds)]


@given(st.lists(pieces, max_size=6), endings, st.lists(st.integers(0, 2**16), max_size=12))
@settings(max_examples=300)
def test_any_cutting_of_a_stream_gives_the_same_events(
    read: Any, good: list[bytes], end: bytes, places: list[int]
) -> None:
    stream = b"".join(good) + end

    assert read(cut(stream, places)).events == read([stream]).events


@given(st.lists(pieces, min_size=1, max_size=2), endings)
@settings(max_examples=20)
def test_a_stream_that_comes_byte_by_byte_gives_the_same_events(read: Any, good: list[bytes], end: bytes) -> None:
    stream = b"".join(good)[-3000:] + end

    assert read([stream[at : at + 1] for at in range(len(stream))]).events == read([stream]).events


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=4))
@example(b"\x01\x00\x00\x00\x00\x00\x00\xce", [])
@settings(max_examples=300)
def test_rubbish_loses_the_link_with_one_line_or_waits_for_more(read: Any, rubbish: bytes, places: list[int]) -> None:
    recorder = read(cut(rubbish, places))

    assert_honest_end(recorder)


@given(st.lists(pieces, min_size=1, max_size=4), endings, st.data())
@settings(max_examples=300)
def test_mutated_streams_lose_the_link_with_one_line_or_go_on(
    read: Any, good: list[bytes], end: bytes, data: st.DataObject
) -> None:
    stream = bytearray(b"".join(good) + end)
    for _ in range(data.draw(st.integers(1, 5))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))

    recorder = read([bytes(stream)])

    assert_honest_end(recorder)


def assert_honest_end(recorder: Any) -> None:
    assert recorder.lost is None or isinstance(recorder.lost, BusError)
    assert "\n" not in str(recorder.lost)
    assert "could not be handled" not in str(recorder.lost)
    assert len(str(recorder.lost)) < 400
    assert sum(event[0] == "lost" for event in recorder.events) <= 1


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not AMQP; is this the broker's AMQP port"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "TLS on both sides or none"),
        (b"AMQP\x00\x01\x00\x00", "does not go on with AMQP 0.9.1 and offers 1.0.0"),
        (ProtocolHeader(0, 9, 1).marshal(), "does not go on with AMQP 0.9.1"),
        (struct.pack(">BHI", 1, 0, FRAME_MAX + 1) + b"x", "larger than was agreed"),
        (b"\x08\x00\x00\x00\x00\x00\x00\x00", "without its end mark"),
        (frames(ContentBody(b"x")), "a body that nothing announced"),
        (frames(ContentHeader(0, 1, amqp.Basic.Properties())), "a content header that nothing announced"),
        (deliver(b"abc", size=2), "a body that nothing announced"),
        (frames(amqp.Queue.PurgeOk(3)), "an answer to nothing: Queue.PurgeOk"),
        (
            frames(amqp.Channel.Close(406, "PRECONDITION_FAILED - no", 60, 80)),
            "closed the channel: 406 PRECONDITION_FAILED",
        ),
    ],
)
def test_what_a_broker_must_not_send_is_named(read: Any, stream: bytes, words: str) -> None:
    recorder = read([stream])

    assert isinstance(recorder.lost, BusError)
    assert words in str(recorder.lost)


def test_nothing_behind_a_close_is_believed(read: Any) -> None:
    recorder = read([frames(amqp.Connection.Close(320, "bye", 0, 0), channel=0) + deliver() + deliver(tag=2)])

    assert [event[0] for event in recorder.events] == ["lost"]


def test_a_message_that_is_too_large_is_skipped_and_marked(read: Any) -> None:
    """Falling over it would have it delivered again, to the next generation and to every other worker."""
    chunk = b"z" * (FRAME_MAX - 8)
    count = MAX_MESSAGE // len(chunk) + 1
    announced = deliver(b"", size=count * len(chunk))

    recorder = read([announced, *[frames(ContentBody(chunk))] * count, deliver(b"good", tag=2)])

    large, good = recorder.messages
    assert recorder.lost is None
    assert (large.fault, large.body) == ("a body that is larger than the bus carries", b"")
    assert (good.fault, good.body, good.tag) == (None, b"good", 2)


# -- servers that are no broker, over real sockets

Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(speak: Speak) -> AsyncIterator[Address]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await speak(reader, writer)
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Address("127.0.0.1", listening.sockets[0].getsockname()[1], "/", "user", "secret")
    finally:
        listening.close()


async def failure(address: Address) -> BusError:
    async with asyncio.timeout(8):
        with pytest.raises(BusError) as caught:
            await open_lane(address, LinkEvents(), name="test", generation=1, heartbeat=5)
    text = str(caught.value)
    assert "secret" not in text
    assert "\n" not in text
    assert str(address.port) in text
    return caught.value


async def test_an_http_server_is_named_as_not_amqp() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    async with server(speak) as address:
        error = await failure(address)

    assert "not AMQP" in str(error)


async def test_a_tls_server_is_named_as_not_amqp() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"\x15\x03\x03\x00\x02\x02\x46")

    async with server(speak) as address:
        error = await failure(address)

    assert "TLS on both sides or none" in str(error)


async def test_a_server_that_hangs_up_is_said_so() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.close()

    async with server(speak) as address:
        error = await failure(address)

    assert "the broker closed the connection" in str(error)
    assert not error.permanent


async def test_a_server_that_stays_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)

    monkeypatch.setattr("busgate.bus.opening.CONNECT_TIMEOUT", 0.2)
    async with server(speak) as address:
        error = await failure(address)

    assert "no answer within 0.2 s" in str(error)


async def test_a_port_where_nobody_listens_is_a_bus_error() -> None:
    async with server(_nothing) as address:
        pass

    error = await failure(address)

    assert not error.permanent


async def _nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...


async def test_a_refused_login_is_permanent() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(frames(amqp.Connection.Start(0, 9, {}, "PLAIN", "en_US"), channel=0))
        await reader.readexactly(7)
        writer.write(frames(amqp.Connection.Close(403, "ACCESS_REFUSED - Login was refused", 0, 0), channel=0))

    async with server(speak) as address:
        error = await failure(address)

    assert "403 ACCESS_REFUSED" in str(error)
    assert error.permanent


# -- a connection that lives


class Quiet(Connection):
    def link_lost(self, error: Exception | None) -> None:
        self.error = error


async def test_a_broker_that_falls_silent_is_given_up() -> None:
    async with server(_nothing) as address:
        _, connection = await asyncio.get_running_loop().create_connection(Quiet, address.host, address.port)
        connection._beat_every = 0.01
        connection._beat()

        async with asyncio.timeout(5):
            await connection._lost

    assert str(connection.error) == "the broker is silent: no heartbeat"


async def test_what_waits_for_an_answer_fails_when_the_link_falls() -> None:
    async with server(_nothing) as address:
        _, connection = await asyncio.get_running_loop().create_connection(Quiet, address.host, address.port)
        answers = [asyncio.ensure_future(connection.call(1, amqp.Channel.Open())) for _ in range(3)]
        await asyncio.sleep(0)

        connection.abort()

        outcomes = await asyncio.gather(*answers, return_exceptions=True)
        with pytest.raises(BusError):
            await connection.call(1, amqp.Channel.Open())
    assert [str(outcome) for outcome in outcomes] == ["dropped by this process"] * 3


async def test_a_slow_reader_makes_the_connection_congested_until_it_reads() -> None:
    go_on = asyncio.Event()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()

    async with server(speak) as address:
        _, connection = await asyncio.get_running_loop().create_connection(Quiet, address.host, address.port)
        async with asyncio.timeout(10):
            while not connection.congested:
                connection.write(b"x" * 1_000_000)
                await asyncio.sleep(0)
            go_on.set()
            while connection.congested:
                await asyncio.sleep(0)
        connection.abort()
