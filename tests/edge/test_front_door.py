import asyncio
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import RawRequestMessage
from hypothesis import assume, given
from hypothesis import strategies as st

from busgate.edge.front_door import SINGLE, DoorRules, check, head_size
from busgate.edge.parsing import new_parser
from busgate.edge.refusal import Refusal
from busgate.edge.target import QUERY_PAIRS_LIMIT, decode_path, query_pairs, split_target

Parse = Callable[..., RawRequestMessage]


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def parse(loop: asyncio.AbstractEventLoop) -> Parse:
    def parse(
        *headers: str, line: str = "GET /orders?limit=10 HTTP/1.1", host: str = "Host: api.example.com"
    ) -> RawRequestMessage:
        lines = [line, *([host] if host else []), *headers, "", ""]
        messages, _, _ = new_parser(BaseProtocol(loop), loop).feed_data("\r\n".join(lines).encode("latin-1"))
        return messages[0][0]

    return parse


def refused(call: Callable[..., object], *arguments: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        call(*arguments)
    return caught.value


def test_an_ordinary_request_comes_in(parse: Parse) -> None:
    head = check(parse("Accept: */*", "AUTHORIZATION: Bearer x", line="POST /orders/7?a=b&c HTTP/1.1"))

    assert (head.method, head.path, head.query) == ("POST", "/orders/7", "a=b&c")
    assert head.headers == {b"host": b"api.example.com", b"accept": b"*/*", b"authorization": b"Bearer x"}


def test_a_header_that_is_a_list_may_be_repeated(parse: Parse) -> None:
    head = check(parse("Accept: text/html", "Accept: application/json"))

    assert head.headers[b"accept"] == b"text/html, application/json"


# The parser itself refuses these; the table of test_server_refusals has them.
BY_PARSER = {b"content-length", b"content-type", b"host", b"transfer-encoding", b"user-agent"}


@pytest.mark.parametrize("name", sorted(SINGLE - BY_PARSER))
def test_a_header_that_says_who_or_what_stands_once(parse: Parse, name: bytes) -> None:
    refusal = refused(check, parse(*[f"{name.decode().title()}: identity"] * 2))

    assert (refusal.kind.status, refusal.close) == (400, True)
    assert name.decode() in str(refusal.detail)


def test_headers_that_contracts_read_can_be_made_single(parse: Parse) -> None:
    message = parse("X-Tenant: a", "X-Tenant: b")

    assert check(message).headers[b"x-tenant"] == b"a, b"
    assert refused(check, message, DoorRules(single=SINGLE | {b"x-tenant"})).kind.status == 400


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("X_Api_Key: a", 400),
        ("Connection: close, Authorization", 400),
        ("Connection: keep-alive,\tX-API-Key ", 400),
        ("Connection: Host", 400),
        ("Connection: keep-alive, X-Forwarded-For", 400),
        ("Connection: Forwarded", 400),
        ("Connection: X-Own", None),
        ("Connection: keep-alive, ,X-Own,", None),
        ("Connection: close; X-Forwarded-For", 400),
        ('Connection: "X-Forwarded-For"', 400),
        ("Connection: X-Forwarded-For keep-alive", 400),
        ("Connection: keep-alive, Upgrade, HTTP2-Settings", None),
        ("Connection: Close", None),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: CHUNKED", None),
        ("Content-Encoding: gzip", 415),
        ("Content-Encoding: gzip, gzip", 415),
        ("Content-Encoding: x-unknown", 415),
        ("Content-Encoding: Identity", None),
        ("Expect: 200-ok", 417),
        ("Expect: 100-Continue", None),
        ("Upgrade: h2c", None),
    ],
)
def test_headers_with_a_meaning_of_their_own_are_judged(parse: Parse, header: str, status: int) -> None:
    message = parse(header)

    if status is None:
        check(message)
    else:
        assert refused(check, message).kind.status == status


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0"])
def test_only_http_1_1_is_spoken(parse: Parse, version: str) -> None:
    refusal = refused(check, parse(line=f"GET / {version}"))

    assert (refusal.kind.status, refusal.close) == (505, True)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "a,b",
        "a:port",
        "a:123456",
        "user@a",
        "a/b",
        "a?b",
        "[::1",
        "::1",
        "é.com",
        "-a",
        ".",
        "a\\b",
    ],
)
def test_a_host_that_is_not_one_is_refused(parse: Parse, host: str) -> None:
    refusal = refused(check, parse(host=f"Host: {host}"))

    assert (refusal.kind.status, refusal.close) == (400, True)


@pytest.mark.parametrize("host", ["a", "A.example.com:8080", "127.0.0.1", "[::1]", "[2001:db8::1]:443", "my_service"])
def test_a_host_that_is_one_comes_in(parse: Parse, host: str) -> None:
    check(parse(host=f"Host: {host}"))


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("api.example.com", True),
        ("API.example.com", True),
        ("api.example.com:8443", True),
        ("other.example.com", False),
        ("internal:80", True),
        ("internal", False),
        ("internal:81", False),
    ],
)
def test_where_hosts_are_named_others_are_misdirected(parse: Parse, host: str, served: bool) -> None:
    rules = DoorRules(hosts=frozenset({b"api.example.com", b"internal:80"}))
    message = parse(host=f"Host: {host}")

    if served:
        check(message, rules)
    else:
        assert refused(check, message, rules).kind.status == 421


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/", "/a/"),
        ("/caf%C3%A9", "/café"),
        ("/a%20b", "/a b"),
        ("/a%2Eb", "/a.b"),
        ("/.well-known/x", "/.well-known/x"),
        ("/...", "/..."),
        ("/a;b=c/@d:e", "/a;b=c/@d:e"),
        ("/%2525", "/%25"),
    ],
)
def test_a_path_is_decoded_once(raw: str, path: str) -> None:
    assert split_target(raw, b"h") == (path, "")


@pytest.mark.parametrize(
    "raw",
    [
        "//",
        "//a",
        "/a//b",
        "/a//",
        "/.",
        "/..",
        "/./a",
        "/a/.",
        "/a/..",
        "/a/../b",
        "/a/%2e%2e/b",
        "/a/%2E/b",
        "/a/.%2e",
        "/a%2Fb",
        "/a%2fb",
        "/%2f",
        "/a%00",
        "/a%0d%0ab",
        "/a%7f",
        "/a%C2%85",
        "/a%zz",
        "/a%",
        "/a%4",
        "/a%ff",
        "/a%C3",
        "/a%ED%A0%80",
        "/a%C0%AF",
        "/a%u0041",
        "/a#b",
        "/a\\b",
        "/a|b",
        "/é",
        "/a\udcff",
        "*",
        "a",
        "h:80",
    ],
)
def test_a_path_that_has_two_readings_is_refused(raw: str) -> None:
    assert refused(split_target, raw, b"h").kind.status == 400


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("http://h/a?b=c", ("/a", "b=c")),
        ("HTTPS://H/a", ("/a", "")),
        ("http://h", ("/", "")),
        ("http://h?x", ("/", "x")),
        ("http://other/a", None),
        ("http://user@h/a", None),
        ("http:///a", None),
        ("ftp://h/a", None),
        ("http://h/a/../b", None),
    ],
)
def test_a_target_in_absolute_form_names_the_host_that_the_header_names(
    target: str, expected: tuple[str, str] | None
) -> None:
    if expected is None:
        assert refused(split_target, target, b"h").kind.status == 400
    else:
        assert split_target(target, b"h") == expected


@pytest.mark.parametrize("query", ["a=%zz", "a=%", "a=#b", "a=é"])
def test_a_query_with_what_no_query_has_is_refused(query: str) -> None:
    assert refused(split_target, f"/?{query}", b"h").kind.status == 400


def test_a_query_is_read_in_order_and_decoded() -> None:
    assert query_pairs("a=1&b=x+y&a=%32&&c&d=%26%3D&%C3%A9=") == [
        ("a", "1"),
        ("b", "x y"),
        ("a", "2"),
        ("c", ""),
        ("d", "&="),
        ("é", ""),
    ]


@pytest.mark.parametrize("query", ["a=%ff", "a=%00", "%00", "a=%g0", "&" * QUERY_PAIRS_LIMIT])
def test_a_query_that_cannot_be_read_is_refused(query: str) -> None:
    assert refused(query_pairs, query).kind.status == 400


def test_the_size_of_a_head_counts_its_line_and_headers(parse: Parse) -> None:
    assert head_size(parse("X: " + "a" * 1000)) >= 1000 + len("/orders?limit=10")


raw_paths = st.text("/.%abc0123456789ABCDEFef~é ", max_size=30).map(lambda text: "/" + text)


@given(raw_paths)
def test_what_comes_in_means_the_same_when_it_is_written_again(raw: str) -> None:
    try:
        path = decode_path(raw)
    except Refusal:
        assume(False)

    again = decode_path(quote(path, safe="/"))

    assert again == path
    assert path.count("/") == raw.count("/")
    assert not {"", ".", ".."} & set(path[1:].split("/")[:-1])


@given(st.text(max_size=40).filter(lambda text: "?" not in text and "#" not in text))
def test_any_text_as_a_target_is_read_or_refused(text: str) -> None:
    for target in (text, "/" + text, "/?" + text):
        try:
            path, query = split_target(target, b"h")
            query_pairs(query)
        except Refusal:
            continue
        assert path.startswith("/")


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=5))
def test_a_query_that_was_written_is_read_back(pairs: list[tuple[str, str]]) -> None:
    assume(all("\0" not in name + value for name, value in pairs))
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)

    assert query_pairs(query) == pairs
