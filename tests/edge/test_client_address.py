"""Where a client is, as proxies say it: a table of what they and clients send, and properties that hold for all of it."""

import ipaddress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, cast

import pytest
from aiohttp.http import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from support.site import serving

from busgate.bus import Bus
from busgate.bus.embedded import EmbeddedBroker
from busgate.contracts import Call, http
from busgate.edge.client_address import HOPS, AddressHeader, ClientAddresses
from busgate.edge.door import Door
from busgate.edge.exchange import Exchange
from busgate.edge.front_door import Head
from busgate.edge.networks import address, network
from busgate.edge.refusal import BAD_REQUEST, Refusal
from busgate.edge.request import Origin, Request
from busgate.edge.settings import EdgeSettings
from busgate.workers import Context, Service

PROXY, INNER = "10.0.0.1", "10.0.0.2"
TRUSTED = ["10.0.0.0/8", "2001:db8:aaaa::/48", "192.0.2.7"]
XFF: AddressHeader = "X-Forwarded-For"
FORWARDED: AddressHeader = "Forwarded"


@dataclass(frozen=True, slots=True)
class Row:
    """What a trusted proxy sends, and whose address that is; None: the request is not well-formed."""

    value: str | bytes
    expected: str | None
    peer: str = PROXY


FROM_X_FORWARDED_FOR = {
    "one": Row("203.0.113.9", "203.0.113.9"),
    "IPv6": Row("2001:db8::9", "2001:db8::9"),
    "IPv6 in brackets": Row("[2001:db8::9]", "2001:db8::9"),
    "a port": Row("203.0.113.9:4711", "203.0.113.9"),
    "a port of IPv6": Row("[2001:db8::9]:4711", "2001:db8::9"),
    "IPv4 in IPv6": Row("::ffff:203.0.113.9", "203.0.113.9"),
    "IPv4 in IPv6 in hex": Row("::ffff:cb00:7109", "203.0.113.9"),
    "spaces and tabs": Row(" \t203.0.113.9\t ", "203.0.113.9"),
    "what the client made up": Row("6.6.6.6, 203.0.113.9", "203.0.113.9"),
    "nonsense that the client made up": Row("<script>, 203.0.113.9", "203.0.113.9"),
    "empty text of the client": Row(", 203.0.113.9", "203.0.113.9"),
    "a trusted address that the client made up": Row("10.0.0.9, 203.0.113.9", "203.0.113.9"),
    "two proxies": Row("203.0.113.9, 10.0.0.2", "203.0.113.9"),
    "three proxies of two kinds": Row("203.0.113.9, 2001:db8:aaaa::1, 10.0.0.2", "203.0.113.9"),
    "a proxy in IPv6 that is IPv4": Row("203.0.113.9, ::ffff:10.0.0.2", "203.0.113.9"),
    "a proxy that is not trusted": Row("203.0.113.9, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
    "only proxies": Row("10.0.0.3, 10.0.0.2", "10.0.0.3"),
    "the peer in IPv6": Row("203.0.113.9", "203.0.113.9", peer="::ffff:10.0.0.1"),
    "a trusted peer of IPv6": Row("203.0.113.9", "203.0.113.9", peer="2001:db8:aaaa::5"),
    "a peer of IPv6 with a zone": Row("203.0.113.9", "fe80::1", peer="fe80::1%eth0"),
    "a peer that is not trusted": Row("10.0.0.2", "203.0.113.77", peer="203.0.113.77"),
    "nonsense of a peer that is not trusted": Row("<script>", "203.0.113.77", peer="203.0.113.77"),
    "the neighbour of a trusted address": Row("10.0.0.2", "192.0.2.8", peer="192.0.2.8"),
    "empty": Row("", None),
    "nothing behind the comma": Row("203.0.113.9,", None),
    "nothing between commas": Row("203.0.113.9, , 10.0.0.2", None),
    "a name": Row("client.example", None),
    "unknown": Row("unknown", None),
    "nonsense of a trusted proxy": Row("203.0.113.9, <script>", None),
    "a leading zero": Row("203.0.113.09", None),
    "octal": Row("0313.0.0161.011", None),
    "a number": Row("3405803785", None),
    "hex": Row("0xcb007109", None),
    "three parts": Row("203.0.113", None),
    "a part too large": Row("203.0.113.256", None),
    "a network": Row("203.0.113.0/24", None),
    "a zone": Row("fe80::1%eth0", None),
    "a colon too many": Row("2001:db8:::9", None),
    "IPv6 with a port and no brackets": Row("2001:db8:0:0:0:0:0:9:4711", None),
    "half a bracket": Row("[2001:db8::9", None),
    "IPv4 in brackets with a port": Row("[203.0.113.9]:80", "203.0.113.9"),
    "a port that is none": Row("203.0.113.9:http", None),
    "a port too long": Row("203.0.113.9:123456", None),
    "semicolons": Row("203.0.113.9;10.0.0.2", None),
    "quotes": Row('"203.0.113.9"', None),
    "digits of another script": Row("٢٠٣.0.113.9".encode(), None),
    "a null": Row("203.0.113.9\0", None),
    "a word of the other header": Row("for=203.0.113.9", None),
    "too many proxies": Row(", ".join(["203.0.113.9", *[INNER] * HOPS]), None),
    "as many proxies as may be": Row(", ".join(["203.0.113.9", *[INNER] * (HOPS - 1)]), "203.0.113.9"),
}

FROM_FORWARDED = {
    "one": Row("for=203.0.113.9", "203.0.113.9"),
    "in capitals": Row("FOR=203.0.113.9", "203.0.113.9"),
    "quoted": Row('for="203.0.113.9"', "203.0.113.9"),
    "a port": Row('for="203.0.113.9:4711"', "203.0.113.9"),
    "IPv6": Row('for="[2001:db8::9]"', "2001:db8::9"),
    "IPv6 with a port": Row('for="[2001:db8::9]:4711"', "2001:db8::9"),
    "escapes": Row(r'for="203.0\.113.9"', "203.0.113.9"),
    "other parameters": Row("by=10.0.0.1;for=203.0.113.9;proto=https;host=shop.example", "203.0.113.9"),
    "spaces around": Row(" for=203.0.113.9 ; proto=https , for=10.0.0.2 ", "203.0.113.9"),
    "two proxies": Row("for=203.0.113.9, for=10.0.0.2", "203.0.113.9"),
    "what the client made up": Row("for=6.6.6.6, for=203.0.113.9;by=10.0.0.1", "203.0.113.9"),
    "a pseudonym that the client made up": Row("for=_hidden, for=203.0.113.9", "203.0.113.9"),
    "a comma in quotes": Row('for="10.0.0.9, for=6.6.6.6";host=a, for=203.0.113.9', "203.0.113.9"),
    "a peer that is not trusted": Row('for="', "203.0.113.77", peer="203.0.113.77"),
    "a quote that the client left open": Row('for="6.6.6.6, for=203.0.113.9', None),
    "a quote that the client left open, and one of the proxy": Row('for="6.6.6.6, for="203.0.113.9"', None),
    "empty": Row("", None),
    "no parameter": Row("203.0.113.9", None),
    "no for": Row("proto=https", None),
    "no for of the last proxy": Row("for=203.0.113.9, proto=https", None),
    "for stands twice": Row("for=203.0.113.9;for=6.6.6.6", None),
    "unknown": Row("for=unknown", None),
    "a pseudonym": Row("for=_hidden", None),
    "a pseudonym with a port": Row('for="_hidden:_port"', None),
    "IPv6 without quotes": Row("for=[2001:db8::9]", None),
    "spaces around the equals sign": Row("for = 203.0.113.9", None),
    "a comma at the end": Row("for=203.0.113.9,", None),
    "a semicolon at the end": Row("for=203.0.113.9;", None),
    "only a comma": Row(",", None),
    "no value": Row("for=", None),
    "text behind a quote": Row('for="203.0.113.9"x', None),
    "a null in quotes": Row('for="203.0.113.9\0"', None),
    "the other header's form": Row("203.0.113.9, 10.0.0.2", None),
    "too many proxies": Row(", ".join(["for=203.0.113.9", *[f"for={INNER}"] * HOPS]), None),
}


def find(row: Row, header: AddressHeader) -> str | None:
    value = row.value if isinstance(row.value, bytes) else row.value.encode()
    other = FORWARDED if header == XFF else XFF
    headers = {header.lower().encode(): value, other.lower().encode(): b"for=6.6.6.6"}
    try:
        return ClientAddresses(TRUSTED, header=header).of(row.peer, headers)
    except Refusal as refusal:
        assert refusal.kind is BAD_REQUEST
        return None


@pytest.mark.parametrize("row", FROM_X_FORWARDED_FOR.values(), ids=FROM_X_FORWARDED_FOR)
def test_x_forwarded_for(row: Row) -> None:
    assert find(row, XFF) == row.expected


@pytest.mark.parametrize("row", FROM_FORWARDED.values(), ids=FROM_FORWARDED)
def test_forwarded(row: Row) -> None:
    assert find(row, FORWARDED) == row.expected


@pytest.mark.parametrize("header", [XFF, FORWARDED])
def test_a_proxy_that_calls_itself_is_where_it_is(header: AddressHeader) -> None:
    other = FORWARDED if header == XFF else XFF

    found = ClientAddresses(TRUSTED, header=header).of(PROXY, {other.lower().encode(): b"nonsense"})

    assert found == PROXY


def test_without_trusted_proxies_no_header_is_read() -> None:
    headers = {b"x-forwarded-for": b"6.6.6.6", b"forwarded": b'for="'}

    assert [ClientAddresses().of(peer, headers) for peer in (PROXY, f"::ffff:{PROXY}", "")] == [PROXY, PROXY, ""]


addresses = st.ip_addresses()
lists = st.lists(addresses, min_size=1, max_size=HOPS)
some_networks = st.lists(
    st.one_of(
        st.builds(lambda a, p: ipaddress.ip_network((a, p), strict=False), st.ip_addresses(v=4), st.integers(1, 32)),
        st.builds(lambda a, p: ipaddress.ip_network((a, p), strict=False), st.ip_addresses(v=6), st.integers(1, 128)),
    ).filter(lambda each: each.version == 4 or each.network_address.ipv4_mapped is None),
    min_size=1,
    max_size=4,
)


def plain(each: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return str((each.ipv4_mapped if isinstance(each, ipaddress.IPv6Address) else None) or each)


@given(hops=lists, trusted=some_networks, peer=addresses, header=st.sampled_from([XFF, FORWARDED]))
def test_it_is_the_first_from_the_right_that_is_not_trusted(hops, trusted, peer, header) -> None:
    """Against a second way to say it: every address from the peer to the left until one is not trusted."""
    nodes = [f"[{hop}]" if hop.version == 6 else str(hop) for hop in hops]
    value = ", ".join(nodes) if header == XFF else ", ".join(f'for="{node}"' for node in nodes)
    way = [plain(peer), *(plain(hop) for hop in reversed(hops))]
    expected = next((each for each in way if not any(address(each) in one for one in trusted)), way[-1])

    found = ClientAddresses([str(each) for each in trusted], header=header).of(
        str(peer), {header.lower().encode(): value.encode()}
    )

    assert found == expected


@given(made_up=st.text(st.characters(max_codepoint=255), max_size=60), header=st.sampled_from([XFF, FORWARDED]))
def test_nothing_that_a_client_makes_up_changes_where_it_is(made_up: str, header: AddressHeader) -> None:
    """It may get its own request refused, and no more."""
    added = "203.0.113.9" if header == XFF else "for=203.0.113.9"
    headers = {header.lower().encode(): f"{made_up}, {added}".encode("latin-1")}

    try:
        found = ClientAddresses(TRUSTED, header=header).of(PROXY, headers)
    except Refusal:
        return
    assert found == "203.0.113.9"


@given(value=st.binary(max_size=200), header=st.sampled_from([XFF, FORWARDED]))
def test_any_bytes_give_an_address_or_a_refusal(value: bytes, header: AddressHeader) -> None:
    try:
        found = ClientAddresses(TRUSTED, header=header).of(PROXY, {header.lower().encode(): value})
    except Refusal:
        return
    assert str(ipaddress.ip_address(found)) == found


@given(st.ip_addresses(v=4))
def test_ipv4_is_the_same_in_whatever_it_is_wrapped(each: ipaddress.IPv4Address) -> None:
    assert address(f"::ffff:{each}") == address(str(each)) == each


GOOD_NETWORKS = ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.7", "2001:db8::/32", "::/0", "::1"]
BAD_NETWORKS = {
    "bits behind the prefix": "10.0.0.1/8",
    "a name": "proxy.example",
    "a range": "10.0.0.1-10.0.0.9",
    "IPv4 in IPv6": "::ffff:10.0.0.0/104",
    "a prefix too long": "10.0.0.0/33",
    "empty": "",
    "a zone": "fe80::1%eth0/64 ",
}


@pytest.mark.parametrize("text", GOOD_NETWORKS)
def test_networks_and_addresses_may_be_trusted(text: str) -> None:
    assert EdgeSettings(trusted_proxies=(text,)).trusted_proxies == (text,)
    assert network(text).version in (4, 6)


@pytest.mark.parametrize("text", BAD_NETWORKS.values(), ids=BAD_NETWORKS)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="network"):
        EdgeSettings(trusted_proxies=(text,))


def test_an_exchange_finds_the_address_when_it_is_first_asked_for() -> None:
    headers = {b"x-forwarded-for": b"203.0.113.9"}
    request = Request(
        b"0" * 32, cast(RawRequestMessage, None), EMPTY_PAYLOAD, cast(Origin, SimpleNamespace(peer=PROXY))
    )
    exchange = Exchange(request, 0.0, addresses=ClientAddresses(TRUSTED))
    exchange.head = Head("GET", "/", "", headers)

    first = exchange.address
    headers.clear()

    assert (first, exchange.address is first) == ("203.0.113.9", True)


async def test_an_edge_believes_the_proxies_of_its_settings() -> None:
    settings = EdgeSettings(trusted_proxies=("10.0.0.0/8",), address_header="Forwarded")
    async with Bus(EmbeddedBroker(), name="edge") as bus:
        door = Door(settings, bus)

    assert door.addresses.of(PROXY, {b"forwarded": b"for=203.0.113.9"}) == "203.0.113.9"


class Seen(BaseModel):
    address: Annotated[str, http.Header("X-Address")] = ""


where = Call("test.where.v1", http.get("/where"), request=Seen, reply=Seen, public=True)
wheres = Service("wheres")


@wheres.handles(where)
async def answer(request: Seen, context: Context) -> Seen:
    return request


@pytest.mark.parametrize(
    ("header", "sent"),
    [(XFF, "203.0.113.9, unknown"), (FORWARDED, 'for=", for=203.0.113.9')],
    ids=["of the proxy itself", "a quote that the client left open"],
)
async def test_where_it_cannot_be_told_who_calls_nothing_is_done(header: AddressHeader, sent: str) -> None:
    """Else rules, services and the audit would be told the address of the proxy, which may be let in everywhere."""
    rule = {"request_set": ["X-Address: ${client.address}"]}
    trusted = ["127.0.0.0/8"]
    async with serving([where], [wheres], headers=[rule], trusted_proxies=trusted, address_header=header) as site:
        told = await site.ask("GET", "/where", headers={header: "203.0.113.9" if header == XFF else "for=203.0.113.9"})
        untold = await site.ask("GET", "/where", headers={header: sent})

    assert (told.status, told.body) == (200, b'{"address":"203.0.113.9"}')
    assert untold.status == 400
    assert b"does not say who called it" in untold.body


def test_what_is_told_of_a_request_never_fails_on_its_address() -> None:
    """A record of a request that is refused for it, or that nothing else asked for it, must still be written."""
    origin = cast(Origin, SimpleNamespace(peer=PROXY))
    request = Request(b"0" * 32, cast(RawRequestMessage, None), EMPTY_PAYLOAD, origin)
    exchange = Exchange(request, 0.0, addresses=ClientAddresses(TRUSTED))

    before = exchange.noted_address
    exchange.head = Head("GET", "/", "", {b"x-forwarded-for": b"not an address"})

    assert (before, exchange.noted_address) == (PROXY, PROXY)
    with pytest.raises(Refusal):
        _ = exchange.address
