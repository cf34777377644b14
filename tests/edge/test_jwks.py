"""The fetch of keys, from a server that does all that it should not."""

import gzip
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import self_signed, server_context
from support.issuer import Issuer, Serve, answer, drip, endless, hang_up, jwk_set, never, nonsense

from busgate.edge import outbound
from busgate.edge.jwks import _max_age, fetch
from busgate.edge.outbound import SIZE_LIMIT, FetchError

TLS = ssl.create_default_context()


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer("one") as issuer:
        yield issuer


async def refusal(issuer: Issuer, serve: Serve) -> str:
    """Why an answer is not taken."""
    issuer.serve = serve
    with pytest.raises(FetchError) as caught:
        await fetch(issuer.url, TLS)
    return str(caught.value)


async def test_the_answer_is_had_as_it_is(issuer: Issuer) -> None:
    issuer.publish("one", "two", headers="Cache-Control: public, max-age=77\r\n")

    got = await fetch(issuer.url, TLS)

    assert (got.text, got.max_age) == (jwk_set("one", "two"), 77)


async def test_a_request_carries_nothing_but_the_wish(issuer: Issuer) -> None:
    issuer.serve = answer(jwk_set("one"), headers="Set-Cookie: a=b; Path=/\r\n")

    await fetch(issuer.url, TLS)
    await fetch(issuer.url, TLS)

    for head in issuer.requests:
        names = {line.partition(":")[0].lower() for line in head.decode().split("\r\n")[1:] if line}
        assert names == {"host", "accept", "accept-encoding", "user-agent", "connection"} - (
            set() if b"\r\nConnection:" in head else {"connection"}
        )


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "303 See Other", "307 T", "308 P"])
async def test_a_redirect_is_not_followed(issuer: Issuer, status: str) -> None:
    """T46."""
    async with Issuer("evil") as other:
        why = await refusal(issuer, answer(b"", status=status, headers=f"Location: {other.url}\r\n"))

        assert why.startswith(f"it answers {status[:3]}; redirects are not followed")
        assert other.requests == []


@pytest.mark.parametrize("status", ["404 Not Found", "500 Internal Server Error", "503 X", "204 No Content", "206 P"])
async def test_another_status_is_no_answer(issuer: Issuer, status: str) -> None:
    assert await refusal(issuer, answer(b"", status=status)) == f"it answers {status[:3]}"


async def test_an_answer_may_be_as_long_as_the_limit_and_no_longer(issuer: Issuer) -> None:
    issuer.serve = answer(b" " * SIZE_LIMIT)
    longest = await fetch(issuer.url, TLS)

    assert len(longest.text) == SIZE_LIMIT
    assert "longer than 262144 bytes" in await refusal(issuer, answer(b" " * (SIZE_LIMIT + 1)))
    assert "longer than 262144 bytes" in await refusal(issuer, endless)


@pytest.mark.parametrize("serve", [never, drip], ids=["silent", "drips"])
async def test_an_answer_that_takes_too_long_is_given_up(
    issuer: Issuer, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "TIMEOUT", 0.2)

    assert await refusal(issuer, serve) == "no whole answer within 0.2 s"


async def test_a_host_that_takes_connections_and_no_more_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(FetchError, match="no whole answer"):
            await fetch(f"https://127.0.0.1:{port}/", TLS)


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (nonsense, "not HTTP"),
        (hang_up, "ClientPayloadError"),
        (answer(gzip.compress(b"{}"), headers="Content-Encoding: gzip\r\n"), "compressed"),
        (answer(b"", headers="X: " + "x" * 20_000 + "\r\n"), "not HTTP"),
    ],
    ids=["nonsense", "hangs up", "gzip", "long header"],
)
async def test_what_is_not_http_as_asked_for_is_refused(issuer: Issuer, serve: Serve, why: str) -> None:
    assert why in await refusal(issuer, serve)


async def test_nobody_there_is_told_as_such(issuer: Issuer) -> None:
    await issuer.go_away()

    with pytest.raises(FetchError, match="ClientConnectorError"):
        await fetch(issuer.url, TLS)


async def test_a_host_is_believed_that_an_authority_vouches_for(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    async with Issuer("one", tls=server_context(certificate)) as issuer:
        trusting = ssl.create_default_context(cafile=str(certificate))

        assert (await fetch(issuer.url, trusting)).text == jwk_set("one")


@pytest.mark.parametrize(
    ("certificate", "trusted", "why"),
    [
        ({}, False, "self-signed certificate"),
        ({"address": "127.0.0.2"}, True, "IP address mismatch"),
        ({"days": -1}, True, "certificate has expired"),
    ],
    ids=["unknown authority", "wrong host", "expired"],
)
async def test_a_host_that_no_authority_vouches_for_is_not_asked(
    tmp_path: Path, certificate: dict[str, Any], trusted: bool, why: str
) -> None:
    file = self_signed(tmp_path, **certificate)
    tls = ssl.create_default_context(cafile=str(file)) if trusted else TLS
    async with Issuer("one", tls=server_context(file)) as issuer:
        with pytest.raises(FetchError, match=why):
            await fetch(issuer.url, tls)

        assert issuer.requests == []


@given(st.text())
def test_any_cache_control_can_be_read(value: str) -> None:
    age = _max_age(value)

    assert age is None or age >= 0


@pytest.mark.parametrize(
    ("value", "age"),
    [
        ("max-age=300", 300),
        ("public, Max-Age = 60 , must-revalidate", 60),
        ('max-age="60"', 60),
        ("s-maxage=5", None),
        ("x-max-age=5", None),
        ("max-age=-1", None),
        ("max-age=1e3", None),
        ("no-cache", None),
    ],
)
def test_max_age_is_read_where_it_stands(value: str, age: float | None) -> None:
    assert _max_age(value) == age
