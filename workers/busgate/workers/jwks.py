"""Gets the public keys of an edge from its address, in bounded time and size, without an HTTP library installed."""

import asyncio
import re
import ssl

from busgate.bus.tables import split_web_url

TIMEOUT = 3.0
"""Seconds for all of it."""
SIZE_LIMIT = 64 * 1024
"""Bytes of an answer, head and all."""

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")


class FetchError(Exception):
    """There is no answer that could be a JWK Set; the message says why."""


async def fetch(url: str, tls: ssl.SSLContext | None) -> bytes:
    """What stands at a URL: the answer of that very host, without redirects or proxies.

    It asks as HTTP/1.0 does, so that the answer ends with the connection and comes in one piece.

    Raises:
        FetchError: there is no whole answer with status 200.
    """
    try:
        async with asyncio.timeout(TIMEOUT):
            answer = await _ask(url, tls)
    except TimeoutError:
        raise FetchError(f"no whole answer within {TIMEOUT:g} s") from None
    except OSError as error:  # ssl.SSLError is one
        raise FetchError(f"{type(error).__name__}: {error}"[:200]) from None
    head, _, body = answer.partition(b"\r\n\r\n")
    status = _STATUS.match(head)
    if status is None:
        raise FetchError("its answer is not HTTP")
    if status[1] != b"200":
        raise FetchError(f"it answers {status[1].decode()}")
    return body


async def _ask(url: str, tls: ssl.SSLContext | None) -> bytes:
    parts = split_web_url(url)
    host, port = parts.hostname or "", parts.port or (443 if tls else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    reader, writer = await asyncio.open_connection(host, port, ssl=tls, server_hostname=host if tls else None)
    try:
        lines = (f"GET {target} HTTP/1.0", f"Host: {parts.netloc}", "Accept: application/json", "Connection: close")
        writer.write("\r\n".join((*lines, "", "")).encode())
        answer = bytearray()
        while chunk := await reader.read(SIZE_LIMIT):
            answer += chunk
            if len(answer) > SIZE_LIMIT:
                raise FetchError(f"its answer is longer than {SIZE_LIMIT} bytes")
        return bytes(answer)
    finally:
        writer.close()
