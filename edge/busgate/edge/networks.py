"""Addresses and networks, of IPv4 and IPv6, as settings and headers have them."""

import ipaddress
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator

from busgate.bus.tables import Names

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=4096)
def address(text: str) -> Address:
    """An address; an IPv4 address that is written as IPv6 (`::ffff:192.0.2.1`) is one of IPv4.

    Raises:
        ValueError: it is none, or has a zone.
    """
    found = ipaddress.ip_address(text)
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None:
            raise ValueError("an address with a zone")
        return found.ipv4_mapped or found
    return found


def network(text: str) -> Network:
    """A network in CIDR notation, or one address.

    Raises:
        ValueError: it is none, or has bits set beyond its mask: then one of the two is a mistake.
    """
    try:
        found = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a network like 10.1.0.0/16 or 2001:db8::/32: {error}") from None
    if found.version == 6 and found.network_address.ipv4_mapped is not None:
        raise ValueError(f"{text!r}: write the IPv4 network itself")
    return found


def _networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        network(text)
    return texts


Networks = Annotated[Names, AfterValidator(_networks)]
"""Networks in CIDR notation; an address is a network of one."""
