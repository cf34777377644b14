"""A request as the edge's handler gets it: a parsed head, an id, and a body that is still to be read."""

import asyncio
from typing import Protocol

from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from .refusal import CONTENT_TOO_LARGE, Refusal
from .tls.peer import PeerCertificate


class Origin(Protocol):
    """The connection that a request came on, as far as a request needs it."""

    peer: str
    certificate: PeerCertificate | None
    transport: asyncio.Transport | None

    def send_continue(self) -> None:
        """Ask the client for the body that it announced with `Expect: 100-continue`."""


class Request:
    """One request. `id` is 32 unpredictable hex digits, the answer's `X-Request-Id`.

    `message` is as the parser left it: pass it through `front_door.check` before anything else.
    """

    __slots__ = ("content", "id", "message", "origin")

    def __init__(self, request_id: bytes, message: RawRequestMessage, content: StreamReader, origin: Origin) -> None:
        self.id = request_id
        self.message = message
        self.content = content
        self.origin = origin

    @property
    def peer(self) -> str:
        """The address of whoever connected; empty on a Unix socket."""
        return self.origin.peer

    @property
    def arrived(self) -> bool:
        """Whether the whole body is here: then `take` it, else `read` it."""
        return self.content.is_eof()

    def take(self, limit: int) -> bytes:
        """The body that has arrived.

        Raises:
            Refusal: it is longer than `limit`.
        """
        if self.content.total_bytes > limit:
            raise _too_large(limit)
        return self.content.read_nowait()

    async def read(self, limit: int) -> bytes:
        """The whole body, as it comes in. `Expect: 100-continue` is answered now and not before.

        Raises:
            Refusal: it is longer than `limit`, not well-formed, or does not come in time.
        """
        headers = self.message.headers
        if int(headers.get("Content-Length", 0)) > limit:
            raise _too_large(limit)
        if "Expect" in headers and not self.content.total_bytes:
            self.origin.send_continue()
        chunks: list[bytes] = []
        while chunk := await self.content.readany():
            chunks.append(chunk)
            if self.content.total_bytes > limit:
                raise _too_large(limit)
        return b"".join(chunks)


def _too_large(limit: int) -> Refusal:
    return Refusal(CONTENT_TOO_LARGE, f"the body is longer than {limit} bytes", close=True)
