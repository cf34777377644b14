"""Where a client is: the address that connected, or, behind proxies that are trusted, the one that they name.

Proxies write down who called them, each behind what it was given; so what stands last is the word of the proxy that
is connected, and the first address from the right that is no trusted proxy is the client's. What stands left of that
is the client's own word, and is not read.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

from .networks import Address, address, network
from .refusal import BAD_REQUEST, Refusal

AddressHeader = Literal["X-Forwarded-For", "Forwarded"]

HOPS = 32
"""Proxies in a row that are followed."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - that of RFC 9110
_QUOTED = r'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*"'
_PAIR = re.compile(rf"({_TOKEN})=({_TOKEN}|{_QUOTED})")
_BETWEEN = re.compile(r"[ \t]*([;,]|\Z)[ \t]*")
_ESCAPED = re.compile(r"\\(.)")
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


class ClientAddresses:
    """Finds the client's address.

    Args:
        trusted: networks of the proxies that are believed.
        header: where they say it.
    """

    def __init__(self, trusted: Sequence[str] = (), *, header: AddressHeader = "X-Forwarded-For") -> None:
        self._trusted = tuple(map(network, trusted))
        self._header = header.lower().encode()
        self._hops = _forwarded if header == "Forwarded" else _forwarded_for
        self._judge = lru_cache(maxsize=4096)(self._look)  # the same few proxies and clients come again and again

    def of(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """Where a client is; empty: on this machine, connected over a Unix socket.

        Args:
            peer: who is connected; empty on a Unix socket.
            headers: of the request, by name in lower case.

        Raises:
            Refusal: a trusted proxy names no address that can be read.
        """
        here = _text(peer)
        if not self._trusted or not here or not self._judge(here)[1]:
            return here
        value = headers.get(self._header)
        if value is None:
            return here  # the proxy itself calls, to see whether we live
        try:
            return self._behind(here, self._hops(value.decode("latin-1")))
        except ValueError:
            name = self._header.decode()
            raise Refusal(BAD_REQUEST, f"the header {name} of the proxy does not say who called it") from None

    def _behind(self, here: str, hops: Sequence[str]) -> str:
        for hop in reversed(hops[-HOPS:]):
            here, trusted = self._judge(hop)
            if not trusted:
                return here
        if len(hops) > HOPS:
            raise ValueError("too many proxies")
        return here

    def _look(self, hop: str) -> tuple[str, bool]:
        """The address of a hop, and whether it is that of a trusted proxy. Raises ValueError as `_node`."""
        here = _node(hop)
        return str(here), any(here in each for each in self._trusted)


@lru_cache(maxsize=4096)
def _text(peer: str) -> str:
    return str(address(peer.partition("%")[0])) if peer else ""


def _forwarded_for(value: str) -> list[str]:
    return [hop.strip(" \t") for hop in value.split(",")]


def _forwarded(value: str) -> list[str]:
    """The `for` of each element (RFC 7239, 4), read from the left: a comma may stand in quotes.

    Raises:
        ValueError: it is not well-formed. A quote that a client left open would swallow what the proxy added.
    """
    hops: list[str] = []
    names: dict[str, str] = {}
    place = 0
    value = value.strip(" \t")
    while True:
        pair = _PAIR.match(value, place)
        if pair is None:
            raise ValueError("no pair")
        name = pair[1].lower()
        if name in names:
            raise ValueError("a parameter stands twice")
        names[name] = _unquoted(pair[2])
        between = _BETWEEN.match(value, pair.end())
        if between is None:
            raise ValueError("something behind a pair")
        place = between.end()
        if between[1] != ";":
            hops.append(names.get("for", ""))
            names = {}
        if not between[1]:
            return hops


def _unquoted(value: str) -> str:
    return _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value


def _node(text: str) -> Address:
    """An address with or without a port. Raises ValueError: `unknown`, a pseudonym, or nonsense."""
    with_port = _WITH_PORT.fullmatch(text)
    return address(text if with_port is None else with_port[1] or with_port[2])


DIRECT = ClientAddresses()
"""No proxy is trusted."""
