"""An issuer that is asked about tokens (RFC 7662), with a real HTTP server, and that can misbehave in every way."""

import asyncio
import json
import ssl
from typing import Any

from .issuer import Server, answer

GOOD: dict[str, Any] = {"active": True, "sub": "ann", "aud": "shop", "scope": "read write", "client_id": "web"}


class Endpoint(Server):
    """An issuer that is asked; `questions` is what it was sent, and no answer goes out while `gate` is not set."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(answer(json.dumps(GOOD).encode()), tls=tls)
        self.questions: list[tuple[bytes, bytes]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def url(self) -> str:
        return f"{self.origin}/introspect"

    def says(self, **claims: Any) -> None:
        told = {name: value for name, value in (GOOD | claims).items() if value is not None}
        self.serve = answer(json.dumps(told).encode())

    async def read(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        self.questions.append((head, await reader.readexactly(length)))
        await self.gate.wait()
