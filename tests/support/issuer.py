"""An issuer of tokens with a real HTTP server that publishes its keys, and that can misbehave in every way."""

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from support.ports import free_port

AUDIENCE = "shop"
Serve = Callable[[asyncio.StreamWriter], Awaitable[None]]


@cache
def signing_key(kid: str) -> ec.EllipticCurvePrivateKey:
    """The private key of that name; the same each time."""
    return ec.generate_private_key(ec.SECP256R1())


def jwk(kid: str, **more: Any) -> dict[str, Any]:
    public = jwt.get_algorithm_by_name("ES256").to_jwk(signing_key(kid).public_key(), as_dict=True)
    return {**public, "kid": kid, "use": "sig", "alg": "ES256", **more}


def jwk_set(*kids: str) -> bytes:
    return json.dumps({"keys": [jwk(kid) for kid in kids]}).encode()


def answer(body: bytes, *, status: str = "200 OK", headers: str = "") -> Serve:
    """Answer every request with this."""

    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)
        await writer.drain()

    return serve


async def never(writer: asyncio.StreamWriter) -> None:
    """Take the request and say nothing."""
    await writer.wait_closed()


async def drip(writer: asyncio.StreamWriter) -> None:
    """A byte now and then, for ever: no pause is long, and no answer ever whole."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def endless(writer: asyncio.StreamWriter) -> None:
    """As many bytes as are taken."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        writer.write(b" " * 65536)
        await writer.drain()


async def nonsense(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    await writer.drain()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """End the connection in the middle of an answer."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()


class Server:
    """Answers requests over real sockets, as `serve` says. It opens at a free port, and comes back at the same one."""

    def __init__(self, serve: Serve, *, tls: ssl.SSLContext | None = None) -> None:
        self.serve = serve
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = free_port()

    @property
    def origin(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    async def come_back(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", self._port, ssl=self._tls)

    async def go_away(self) -> None:
        """Listen no more, and cut what is open."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def read(self, reader: asyncio.StreamReader) -> None:
        """Take in a request, before it is answered."""
        await reader.readuntil(b"\r\n\r\n")

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await self.read(reader)
            await self.serve(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # whoever asked has gone, or we have
        finally:
            writer.close()


class Issuer(Server):
    """Use it as a context manager. `serve` says how requests are answered; `requests` are their heads."""

    def __init__(self, *kids: str, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(answer(jwk_set(*kids)), tls=tls)
        self.requests: list[bytes] = []

    @property
    def url(self) -> str:
        return f"{self.origin}/keys"

    def settings(self, **key: Any) -> dict[str, Any]:
        """A table [[edge.jwt]] that trusts it."""
        return {"issuer": self.name, "audience": AUDIENCE, "keys": [{"jwks_url": self.url, **key}]}

    @property
    def name(self) -> str:
        return f"issuer at {self._port}"

    def publish(self, *kids: str, headers: str = "") -> None:
        self.serve = answer(jwk_set(*kids), headers=headers)

    def token(self, kid: str, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A good token, signed by the key of that name."""
        now = int(time.time())
        good = {"iss": self.name, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 600}
        headers = {"typ": "at+jwt", "kid": kid, **(header or {})}
        return jwt.encode(good | claims, signing_key(kid), algorithm="ES256", headers=headers)

    async def read(self, reader: asyncio.StreamReader) -> None:
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))

    async def __aenter__(self) -> Self:
        await self.come_back()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.go_away()
