"""Fetches a JWK Set from its URL."""

import re
import ssl
from dataclasses import dataclass

from .outbound import asked, new_session, read

_MAX_AGE = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?([0-9]{1,9})\"?\s*(?=,|$)", re.IGNORECASE)
_HEADERS = {"Accept": "application/jwk-set+json, application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What stood at the URL, not parsed yet, and for how many seconds its sender calls it fresh."""

    text: bytes
    max_age: float | None


async def fetch(url: str, tls: ssl.SSLContext) -> Answer:
    """Get what stands at a URL: that host's own answer, whole, bounded in time and size.

    A connection for each look: they are minutes apart.

    Raises:
        FetchError: there is no such answer.
    """
    async with new_session(tls, force_close=True) as session, asked(session, "GET", url, headers=_HEADERS) as response:
        return Answer(await read(response), _max_age(response.headers.get("Cache-Control", "")))


def _max_age(cache_control: str) -> float | None:
    found = _MAX_AGE.search(cache_control)
    return float(found[1]) if found else None
