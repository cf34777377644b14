"""What a limit counts by: from the words of the configuration to the key of a request.

Every request has a key: what a request leaves out counts as one thing that all such requests share, or leaving it
out would be a way around the limit. Where a contract is public nobody is known, and the address stands for who calls.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from busgate.contracts import Call
from busgate.edge.exchange import Exchange

Part = Callable[[Exchange], str]

OF_CALLERS = frozenset({"caller", "key", "tenant", "issuer"})
WORDS = OF_CALLERS | {"address", "contract"}
NAMED = ("header:", "path:", "claim:")

REMEMBERED = 8192
"""Addresses whose keys are made already; some 300 bytes each."""

_PLAIN = re.compile(r"[A-Za-z0-9@._+/=:-]{1,64}")


def is_of_callers(word: str) -> bool:
    """Whether it can be told only of a caller who is known."""
    return word in OF_CALLERS or word.startswith("claim:")


def key_of(by: Sequence[str], call: Call[Any, Any]) -> Part:
    """What gives the key of a request of a contract."""
    parts = tuple(_part(word, call) for word in by)
    if len(parts) == 1:
        return parts[0]
    return lambda exchange: ",".join([part(exchange) for part in parts])


def _part(word: str, call: Call[Any, Any]) -> Part:
    if call.public and is_of_callers(word):
        return _address
    if word in _PARTS:
        return _PARTS[word]
    if word == "contract":
        return lambda _: call.topic
    kind, _, name = word.partition(":")
    if kind == "header":
        header = name.lower().encode()
        return lambda exchange: _hashed(exchange.head.headers.get(header, b""))
    if kind == "path":
        at = call.http.variables.index(name)
        return lambda exchange: _plain(exchange.variables[at])
    return lambda exchange: _plain(_claim(exchange, name))


def _caller(exchange: Exchange) -> str:
    verified = exchange.caller
    assert verified is not None
    if not verified.counted_as:
        verified.counted_as = f"{_plain(verified.caller.issuer)},{_plain(verified.caller.subject)}"
    return verified.counted_as


def _key(exchange: Exchange) -> str:
    """A key among those of its caller; the caller itself where its credential has no name."""
    assert exchange.caller is not None
    credential = exchange.caller.credential
    return f"{_caller(exchange)},{_plain(credential)}" if credential else _caller(exchange)


def _tenant(exchange: Exchange) -> str:
    assert exchange.caller is not None
    return _plain(exchange.caller.caller.tenant)


def _issuer(exchange: Exchange) -> str:
    assert exchange.caller is not None
    return _plain(exchange.caller.caller.issuer)


def _claim(exchange: Exchange, name: str) -> str:
    assert exchange.caller is not None
    value = exchange.caller.caller.claims.get(name, "")
    return value if isinstance(value, str) else repr(value)


def _address(exchange: Exchange) -> str:
    return network_of(str(exchange.address))


_PARTS: dict[str, Part] = {
    "caller": _caller,
    "key": _key,
    "tenant": _tenant,
    "issuer": _issuer,
    "address": _address,
}


@lru_cache(maxsize=REMEMBERED)
def network_of(address: str) -> str:
    """What counts as one client: an IPv4 address, or an IPv6 network of /64, which one client can have all of."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ""  # on a Unix socket
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.IPv6Address(int(ip) >> 64 << 64))
    return str(ip)


def _plain(text: str) -> str:
    """A text as it stands where it is short and harmless, else its hash; no two texts are one."""
    if text == "" or _PLAIN.fullmatch(text):
        return text
    return _hashed(text.encode("utf-8", "surrogatepass"))


def _hashed(value: bytes) -> str:
    return f"#{blake2b(value, digest_size=12).hexdigest()}" if value else ""


def faults_of(by: Sequence[str], call: Call[Any, Any]) -> Iterator[str]:
    """Why requests of a contract can have no such key."""
    for word in by:
        kind, _, name = word.partition(":")
        if kind == "path" and name not in call.http.variables:
            yield f"the path of {call.topic} ({call.http.path}) has no variable {name!r}"
