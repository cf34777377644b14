"""Asking a server that was configured. Nothing is trusted about who answers: not the size, the time, or the way there.

No cookies, no proxies, no redirects: the address is the one that was configured.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

TIMEOUT = 3.0
"""Seconds for all of it: name, connection, TLS, answer."""
SIZE_LIMIT = 256 * 1024
"""Bytes of an answer. Issuers need some 2 kB."""

_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "busgate"}


class FetchError(Exception):
    """There was no answer that can be used; the message says why, for the operator."""


def new_session(tls: ssl.SSLContext, **connector: Any) -> aiohttp.ClientSession:
    """A client for one server. `connector`: what aiohttp.TCPConnector takes."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, **connector),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=_HEADERS,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=TIMEOUT),
    )


@asynccontextmanager
async def asked(
    session: aiohttp.ClientSession, method: str, url: str, *, headers: Mapping[str, str], data: bytes | None = None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer of that host itself, with status 200, begun within TIMEOUT. Read it by `read`.

    Raises:
        FetchError: there is no such answer.
    """
    try:
        async with (
            asyncio.timeout(TIMEOUT),
            session.request(method, url, headers=headers, data=data, allow_redirects=False) as response,
        ):
            _check(response)
            yield response
    except TimeoutError:
        raise FetchError(f"no whole answer within {TIMEOUT:g} s") from None
    except aiohttp.ClientResponseError as error:  # its text quotes the other side
        raise FetchError("its answer is not HTTP as it should be") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise FetchError(_reason(error)) from error


async def read(response: aiohttp.ClientResponse) -> bytes:
    """All of a body that keeps to SIZE_LIMIT.

    Raises:
        FetchError: it does not.
    """
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > SIZE_LIMIT:
            raise FetchError(f"its answer is longer than {SIZE_LIMIT} bytes")
    return bytes(body)


def _check(response: aiohttp.ClientResponse) -> None:
    if 300 <= response.status < 400:
        raise FetchError(f"it answers {response.status}; redirects are not followed: configure the address itself")
    if response.status != 200:
        raise FetchError(f"it answers {response.status}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise FetchError("its answer is compressed, which we did not ask for")


def _reason(error: Exception) -> str:
    """What went wrong, in a line of bounded length: parts of it may be the other side's words."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:200] if text else type(error).__name__
