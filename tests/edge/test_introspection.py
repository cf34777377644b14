"""Opaque tokens: what the edge makes of the answers of an issuer that it asks."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs

import pytest
from aiohttp.http import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from pydantic import BaseModel, ValidationError
from support.certificates import Authority, self_signed, server_context
from support.endpoint import Endpoint
from support.issuer import Serve, answer, drip, endless, hang_up, never, nonsense

from busgate.contracts import Call, Caller, http
from busgate.edge import introspection, outbound, remembered
from busgate.edge.bearer import Bearer
from busgate.edge.exchange import Exchange
from busgate.edge.front_door import Head
from busgate.edge.introspection import IntrospectionSettings, Introspector
from busgate.edge.issuer_keys import IssuerKeys
from busgate.edge.refusal import INTROSPECTION_UNAVAILABLE, Refusal
from busgate.edge.request import Origin, Request
from busgate.edge.settings import EdgeSettings
from busgate.edge.testing import HttpHarness
from busgate.edge.tls.peer import PeerCertificate
from busgate.edge.tokens import TokenVerifier
from busgate.edge.verified import CredentialRefused, VerifiedCaller
from busgate.workers import Context, Service
from busgate.workers.testing import Harness

NAME = "https://issuer.example"


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    await endpoint.come_back()
    yield endpoint
    await endpoint.go_away()


def table(endpoint: Endpoint, **settings: Any) -> dict[str, Any]:
    return {
        "issuer": NAME,
        "url": endpoint.url,
        "client_id": "edge:1",
        "client_secret": "a secret & more",
        "audience": ["shop"],
    } | settings


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def asking(endpoint: Endpoint, *, clock: Clock | None = None, **settings: Any) -> AsyncIterator[Introspector]:
    made = Introspector(IntrospectionSettings.model_validate(table(endpoint, **settings)), clock=clock or Clock())
    made.start()
    try:
        yield made
    finally:
        await made.close()


async def verify(introspector: Introspector, token: str = "opaque") -> VerifiedCaller:
    async with asyncio.timeout(10):
        found = introspector.verify(token)
        return found if isinstance(found, VerifiedCaller) else await found


async def test_a_token_that_the_issuer_calls_active_is_good_and_its_claims_are_mapped(endpoint: Endpoint) -> None:
    endpoint.says(roles=["clerk"], org="north", email="a@x")
    async with asking(endpoint, role_claim="roles", tenant_claim="org", claims=["email"]) as introspector:
        found = await verify(introspector)

    assert found.caller == Caller("ann", NAME)
    assert (found.caller.scopes, found.caller.roles) == (frozenset({"read", "write"}), frozenset({"clerk"}))
    assert (found.caller.tenant, found.caller.claims) == ("north", {"email": "a@x"})
    assert found.scheme == "introspection"


async def test_a_token_that_is_bound_to_a_certificate_is_good_on_its_connections_alone(endpoint: Endpoint) -> None:
    own, foreign = (PeerCertificate(Authority().issue("DNS:a.example").der) for _ in range(2))
    now = time.time()
    endpoint.says(cnf={"x5t#S256": own.thumbprint})
    verifier = TokenVerifier([])
    outcomes: list[str] = []
    async with asking(endpoint) as introspector:
        bearer = Bearer(verifier, IssuerKeys([], verifier), introspector, clock=lambda: now)
        for certificate in (own, foreign, None, own, own):
            if len(outcomes) == 4:
                now = own.ends  # what the issuer said of the token is remembered all the same
            origin = cast(Origin, SimpleNamespace(certificate=certificate))
            exchange = Exchange(Request(b"0" * 32, cast(RawRequestMessage, None), EMPTY_PAYLOAD, origin), 0.0)
            exchange.head = Head("GET", "/", "", {b"authorization": b"Bearer opaque"})
            try:
                found = bearer.verify(exchange)
                outcomes.append((found if isinstance(found, VerifiedCaller) else await found).caller.subject)
            except CredentialRefused:
                outcomes.append("refused")

    assert outcomes == ["ann", "refused", "refused", "ann", "refused"]
    assert introspector.asked == 1


async def test_the_question_is_that_of_the_standard(endpoint: Endpoint) -> None:
    async with asking(endpoint) as introspector:
        await verify(introspector, "a+b/c=")

    ((head, form),) = endpoint.questions
    login = base64.b64encode(b"edge%3A1:a+secret+%26+more")
    assert head.startswith(b"POST /introspect HTTP/1.1\r\n")
    assert b"Authorization: Basic " + login in head
    assert parse_qs(form.decode()) == {"token": ["a+b/c="], "token_type_hint": ["access_token"]}


async def test_a_good_token_is_remembered_as_long_as_the_settings_say(endpoint: Endpoint) -> None:
    clock = Clock()
    async with asking(endpoint, clock=clock, remember=30) as introspector:
        first = await verify(introspector)
        clock.now += 29
        again = introspector.verify("opaque")
        clock.now += 1
        await verify(introspector)

    assert again is first
    assert introspector.asked == 2


async def test_a_good_token_is_not_remembered_past_its_end(endpoint: Endpoint) -> None:
    clock = Clock()
    endpoint.says(exp=int(clock.now) + 10)
    async with asking(endpoint, clock=clock, remember=300, leeway=0) as introspector:
        await verify(introspector)
        clock.now += 11
        with pytest.raises(CredentialRefused, match="expired"):
            await verify(introspector)


async def test_a_bad_token_is_not_asked_about_again_for_a_moment(endpoint: Endpoint) -> None:
    clock = Clock()
    endpoint.says(active=False)
    async with asking(endpoint, clock=clock) as introspector:
        for _ in range(3):
            with pytest.raises(CredentialRefused, match="not active"):
                await verify(introspector)
        clock.now += introspection.BAD_FOR
        endpoint.says()
        assert (await verify(introspector)).caller.subject == "ann"

    assert introspector.asked == 2


async def test_many_requests_with_one_token_are_one_question_and_one_that_hangs_up_takes_nothing(
    endpoint: Endpoint,
) -> None:
    endpoint.gate.clear()
    async with asking(endpoint) as introspector:
        waiting = [asyncio.create_task(verify(introspector)) for _ in range(20)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        endpoint.gate.set()
        found = await asyncio.gather(*waiting[1:])

    assert len({id(each) for each in found}) == 1
    assert introspector.asked == 1


async def test_questions_under_way_are_bounded(endpoint: Endpoint) -> None:
    endpoint.gate.clear()
    async with asking(endpoint, at_once=2) as introspector:
        waiting = [asyncio.create_task(verify(introspector, f"t{number}")) for number in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as caught:
            await verify(introspector, "t3")
        endpoint.gate.set()
        await asyncio.gather(*waiting)

    assert (caught.value.kind, introspector.refused) == (INTROSPECTION_UNAVAILABLE, 1)


async def test_what_is_remembered_is_bounded(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "REMEMBERED", 3)
    async with asking(endpoint) as introspector:
        for number in range(5):
            await verify(introspector, f"t{number}")

    assert len(introspector) == 3


REFUSED: list[dict[str, Any]] = [
    {"active": False},
    {"aud": None},
    {"aud": "shops"},
    {"aud": ["other"]},
    {"aud": []},
    {"aud": {"shop": 1}},
    {"iss": "https://other.example"},
    {"iss": ["https://issuer.example"]},
    {"sub": None},
    {"sub": ""},
    {"sub": 1},
    {"sub": "a\nb"},
    {"sub": "x" * 300},
    {"exp": 1},
    {"exp": "4000000000"},
    {"exp": True},
    {"nbf": 4_000_000_000},
    {"iat": 4_000_000_000},
    {"exp": 4_000_000_000, "iat": 1_000_000_000},
    {"scope": 1},
    {"scope": ["a", 1]},
    {"scope": " ".join(f"scope-{number}" for number in range(450))},
    {"token_use": "refresh"},
    {"cnf": {"jkt": "x"}},
]


@pytest.mark.parametrize("claims", REFUSED, ids=repr)
async def test_an_answer_that_names_no_caller_for_us_is_refused(endpoint: Endpoint, claims: dict[str, Any]) -> None:
    endpoint.says(**claims)
    async with asking(endpoint) as introspector:
        with pytest.raises(CredentialRefused):
            await verify(introspector)

    assert introspector.failed == 0


async def test_the_subject_may_stand_elsewhere_for_tokens_without_a_person(endpoint: Endpoint) -> None:
    endpoint.says(sub=None)
    async with asking(endpoint, subject_claim="client_id") as introspector:
        assert (await verify(introspector)).caller.subject == "web"


UNUSABLE: dict[str, Serve] = {
    "never": never,
    "drip": drip,
    "endless": endless,
    "nonsense": nonsense,
    "hang-up": hang_up,
    "401": answer(b"{}", status="401 Unauthorized"),
    "500": answer(b'{"active":true,"sub":"ann","aud":"shop"}', status="500 Oops"),
    "redirect": answer(b"", status="302 Found", headers="Location: http://127.0.0.1:1/\r\n"),
    "compressed": answer(b"xxxx", headers="Content-Encoding: gzip\r\n"),
    "no-json": answer(b"active"),
    "list": answer(b"[true]"),
    "no-active": answer(b'{"sub":"ann","aud":"shop"}'),
    "active-text": answer(b'{"active":"true","sub":"ann","aud":"shop"}'),
    "active-one": answer(b'{"active":1,"sub":"ann","aud":"shop"}'),
    "active-twice": answer(b'{"active":true,"active":false,"sub":"ann","aud":"shop"}'),
    "utf-16": answer('{"active":true,"sub":"ann","aud":"shop"}'.encode("utf-16")),
}


@pytest.mark.parametrize("serve", UNUSABLE.values(), ids=UNUSABLE)
async def test_an_issuer_that_cannot_be_asked_lets_nobody_in_and_is_asked_again(
    endpoint: Endpoint, serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbound, "TIMEOUT", 0.3)
    endpoint.serve = serve
    async with asking(endpoint) as introspector:
        for _ in range(2):
            with pytest.raises(Refusal) as caught:
                await verify(introspector)
        endpoint.says()
        found = await verify(introspector)

    assert (caught.value.kind, introspector.failed) == (INTROSPECTION_UNAVAILABLE, 2)
    assert caught.value.headers == (("Retry-After", "1"),)
    assert found.caller.subject == "ann"
    assert "a secret" not in caplog.text


@pytest.mark.parametrize(
    ("certificate", "trusted", "why"),
    [
        ({}, True, None),
        ({}, False, "self-signed certificate"),
        ({"address": "127.0.0.2"}, True, "IP address mismatch"),
        ({"days": -1}, True, "certificate has expired"),
    ],
    ids=["vouched for", "unknown authority", "wrong host", "expired"],
)
async def test_only_an_issuer_that_an_authority_vouches_for_gets_a_token_to_see(
    tmp_path: Path, certificate: dict[str, Any], trusted: bool, why: str | None
) -> None:
    file = self_signed(tmp_path, **certificate)
    endpoint = Endpoint(server_context(file))
    await endpoint.come_back()
    try:
        async with asking(endpoint, cafile=str(file) if trusted else None) as introspector:
            if why is None:
                assert (await verify(introspector)).caller.subject == "ann"
            else:
                with pytest.raises(Refusal) as caught:
                    await verify(introspector)
                assert caught.value.kind is INTROSPECTION_UNAVAILABLE
                assert why in str(caught.value.__cause__)
                assert endpoint.questions == []
    finally:
        await endpoint.go_away()


async def test_a_token_is_not_sent_on_to_whom_a_redirect_names(endpoint: Endpoint) -> None:
    other = Endpoint()
    await other.come_back()
    endpoint.serve = answer(b"", status="307 Temporary Redirect", headers=f"Location: {other.url}\r\n")
    async with asking(endpoint) as introspector:
        with pytest.raises(Refusal) as caught:
            await verify(introspector)
    await other.go_away()

    assert "redirects are not followed" in str(caught.value.__cause__)
    assert (len(endpoint.questions), other.questions) == (1, [])


async def test_an_issuer_that_is_gone_lets_nobody_in_but_those_remembered(endpoint: Endpoint) -> None:
    async with asking(endpoint) as introspector:
        await verify(introspector, "known")
        await endpoint.go_away()
        known = await verify(introspector, "known")
        with pytest.raises(Refusal):
            await verify(introspector, "unknown")
        await endpoint.come_back()

    assert known.caller.subject == "ann"


@pytest.mark.parametrize("token", ["", "a b", "a,b", "tab\t", "ü", "=", "x" * 8193, "a\x00", "a=b"])
async def test_what_cannot_be_a_token_is_not_asked_about(endpoint: Endpoint, token: str) -> None:
    async with asking(endpoint) as introspector:
        with pytest.raises(CredentialRefused):
            introspector.verify(token)

    assert introspector.asked == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "http://issuer.example/introspect"},
        {"url": "https://u:p@issuer.example/"},
        {"url": "ftp://issuer.example/"},
        {"audience": []},
        {"client_id": ""},
        {"client_secret": None},
        {"remember": -1},
        {"at_once": 0},
        {"cafile": "/nowhere"},
        {"cafile": __file__},
    ],
    ids=repr,
)
def test_settings_that_are_not_safe_are_refused(settings: dict[str, Any]) -> None:
    endpoint = Endpoint()
    endpoint._port = 1

    with pytest.raises(ValidationError):
        IntrospectionSettings.model_validate(table(endpoint, **settings))


# -- over HTTP


class Where(BaseModel):
    name: str


look = Call("test.look.v1", http.get("/look/{name}"), request=Where, reply=Where, scopes={"read"})
closed = Call("test.closed.v1", http.get("/closed/{name}"), request=Where, reply=Where, schemes={"jwt"})
rooms = Service("rooms")


@rooms.handles(look)
@rooms.handles(closed)
async def entered(request: Where, context: Context) -> Where:
    assert context.caller is not None
    return Where(name=context.caller.subject)


async def test_opaque_tokens_stand_beside_jwts(endpoint: Endpoint) -> None:
    harness = Harness()
    settings = EdgeSettings.model_validate({"introspection": table(endpoint)})
    opaque = {"Authorization": "Bearer opaque"}
    async with (
        harness.serving(rooms),
        HttpHarness(harness.stage).serving(look, closed, settings=settings) as client,
    ):
        by_jwt = await client.get("/look/a", caller="bob")
        by_opaque = await client.get("/look/a", headers=opaque)
        jwt_alone = await client.get("/closed/a", headers=opaque)
        endpoint.says(active=False)
        refused = await client.get("/look/a", headers={"Authorization": "Bearer other"})
        await endpoint.go_away()
        gone = await client.get("/look/a", headers={"Authorization": "Bearer third"})
        still = await client.get("/look/a", caller="bob")
        await endpoint.come_back()

    assert (by_jwt.json()["name"], by_opaque.json()["name"]) == ("bob", "ann")
    assert [each.status for each in (jwt_alone, refused, gone, still)] == [401, 401, 503, 200]
    assert gone.json()["type"] == "urn:busgate:introspection-unavailable"
    assert gone.json()["outcome"] == "not_executed"
