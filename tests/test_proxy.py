"""The fault proxy against a real echo server: a fault test is worth what its proxy is worth."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from support.proxy import FaultProxy

LIMIT = 5.0


class Client(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def says(self, text: bytes) -> bytes:
        """Send and wait for as many bytes in return."""
        self.writer.write(text)
        async with asyncio.timeout(LIMIT):
            return await self.reader.readexactly(len(text))

    async def hears_nothing(self) -> bool:
        try:
            async with asyncio.timeout(0.05):
                await self.reader.read(1)
        except TimeoutError:
            return True
        return False

    async def is_reset(self) -> bool:
        try:
            async with asyncio.timeout(LIMIT):
                await self.reader.read()
        except ConnectionResetError:
            return True
        return False


class EchoServer:
    """Sends back what it gets, and knows what it got and how each connection ended."""

    def __init__(self) -> None:
        self.got = asyncio.Queue[bytes]()
        self.ended = asyncio.Queue[str]()
        self.address = ("127.0.0.1", 0)
        self.open: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.append(writer)
        try:
            while text := await reader.read(65536):
                self.got.put_nowait(text)
                writer.write(text)
                await writer.drain()
            self.ended.put_nowait("closed")
        except ConnectionResetError:
            self.ended.put_nowait("reset")
        finally:
            writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[EchoServer]:
    echo = EchoServer()
    server = await asyncio.start_server(echo.serve, "127.0.0.1")
    echo.address = server.sockets[0].getsockname()
    yield echo
    server.close()
    for writer in echo.open:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in echo.open), return_exceptions=True)


@pytest.fixture
async def proxy(echo: EchoServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(*echo.address) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: FaultProxy) -> AsyncIterator[Client]:
    client = await connect(proxy)
    assert await client.says(b"hello") == b"hello"
    yield client
    await leave(client)


async def connect(proxy: FaultProxy) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", proxy.port))


async def leave(client: Client) -> None:
    client.writer.close()
    await asyncio.gather(client.writer.wait_closed(), return_exceptions=True)


async def ending(echo: EchoServer) -> str:
    async with asyncio.timeout(LIMIT):
        return await echo.ended.get()


async def test_bytes_pass_both_ways(client: Client) -> None:
    large = bytes(range(256)) * 4096

    assert await client.says(large) == large


async def test_a_close_by_the_client_reaches_the_server(echo: EchoServer, client: Client) -> None:
    client.writer.write_eof()

    assert await ending(echo) == "closed"
    assert await client.reader.read() == b""


async def test_reset_all_resets_both_sides(echo: EchoServer, proxy: FaultProxy, client: Client) -> None:
    proxy.reset_all()

    assert await client.is_reset()
    assert await ending(echo) == "reset"


async def test_a_half_open_link_is_reset_for_the_client_only(
    echo: EchoServer, proxy: FaultProxy, client: Client
) -> None:
    proxy.halfopen()

    assert await client.is_reset()
    assert echo.ended.empty()
    echo.open[0].write(b"into the void")
    await echo.open[0].drain()
    assert proxy.connections == 1


async def test_bytes_up_can_be_lost(echo: EchoServer, proxy: FaultProxy, client: Client) -> None:
    await echo.got.get()
    proxy.up.drop = True
    client.writer.write(b"lost")

    assert await client.hears_nothing()
    assert echo.got.empty()


async def test_bytes_down_can_be_lost(echo: EchoServer, proxy: FaultProxy, client: Client) -> None:
    await echo.got.get()
    proxy.down.drop = True
    client.writer.write(b"heard but not answered")

    assert await client.hears_nothing()
    assert await echo.got.get() == b"heard but not answered"


async def test_in_a_black_hole_neither_side_learns_that_the_other_left(
    echo: EchoServer, proxy: FaultProxy, client: Client
) -> None:
    other = await connect(proxy)
    await other.says(b"hello")
    proxy.blackhole()
    await leave(other)
    echo.open[0].close()

    assert await client.hears_nothing()
    assert proxy.connections == 2


async def test_healing_resets_links_that_lost_bytes_and_lets_new_ones_pass(proxy: FaultProxy, client: Client) -> None:
    proxy.blackhole()
    client.writer.write(b"lost")
    assert await client.hears_nothing()
    await proxy.heal()

    assert await client.is_reset()
    after = await connect(proxy)
    assert await after.says(b"again") == b"again"
    await leave(after)


async def test_a_refusing_proxy_keeps_what_is_open_and_comes_back_on_the_same_port(
    proxy: FaultProxy, client: Client
) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    assert await client.says(b"still here") == b"still here"

    await proxy.heal()
    again = await connect(proxy)
    assert await again.says(b"again") == b"again"
    await leave(again)


async def test_a_delay_holds_bytes_back_without_reordering_them(proxy: FaultProxy, client: Client) -> None:
    loop = asyncio.get_running_loop()
    proxy.up.delay = proxy.down.delay = 0.05
    started = loop.time()

    assert await client.says(b"1234") == b"1234"
    assert loop.time() - started >= 0.09


async def test_a_rate_limits_bytes_per_second(proxy: FaultProxy, client: Client) -> None:
    loop = asyncio.get_running_loop()
    proxy.down.rate = 10_000
    started = loop.time()

    await client.says(bytes(1000))
    assert loop.time() - started >= 0.09


async def test_a_link_can_be_cut_in_the_middle_of_a_message(
    echo: EchoServer, proxy: FaultProxy, client: Client
) -> None:
    await echo.got.get()
    proxy.up.cut_after = 3
    client.writer.write(b"abcdef")

    assert await ending(echo) == "reset"
    assert await echo.got.get() == b"abc"
    assert await client.is_reset()


async def test_a_broker_that_is_not_there_resets_the_client() -> None:
    async with FaultProxy("127.0.0.1", 1) as proxy:
        client = await connect(proxy)

        assert await client.is_reset()
        await leave(client)


def test_a_url_is_led_through_the_proxy() -> None:
    proxy = FaultProxy("broker", 5672)
    proxy.port = 1234

    assert proxy.url("amqp://user:pa%2Fss@broker:5672/v%2Fh") == "amqp://user:pa%2Fss@127.0.0.1:1234/v%2Fh"
