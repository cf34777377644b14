import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import jwt
import pytest
from aiohttp.http import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from pydantic import BaseModel

from busgate.bus import Bus
from busgate.bus.embedded import EmbeddedBroker
from busgate.contracts import Call, Caller, Catalog, http
from busgate.edge.authentication import authentication
from busgate.edge.door import Door
from busgate.edge.exchange import Exchange
from busgate.edge.front_door import Head
from busgate.edge.issuers import IssuerSettings
from busgate.edge.refusal import FORBIDDEN, UNAUTHENTICATED, Refusal
from busgate.edge.request import Origin, Request
from busgate.edge.settings import EdgeSettings, faults_with
from busgate.edge.verified import CredentialRefused, VerifiedCaller

SECRET = "s" * 32


class Empty(BaseModel):
    pass


def contract(**settings: Any) -> Call[Empty, Empty]:
    return Call("shop.orders.list.v1", http.get("/orders"), request=Empty, reply=Empty, **settings)


@pytest.fixture
async def door() -> Door:
    table = {"issuer": "me", "audience": ["shop"], "keys": [{"secret": SECRET}]}
    return Door(EdgeSettings(jwt=(IssuerSettings.model_validate(table),)), Bus(EmbeddedBroker(), name="edge"))


def exchange(authorization: str | bytes | None = None, **headers: str) -> Exchange:
    """A request with these headers, as the front door leaves it."""
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    if authorization is not None:
        named[b"authorization"] = authorization if isinstance(authorization, bytes) else authorization.encode("latin-1")
    request = Request(b"0" * 32, cast(RawRequestMessage, None), EMPTY_PAYLOAD, cast(Origin, None))
    made = Exchange(request, 0.0)
    made.head = Head("GET", "/orders", "", named)
    return made


def authenticate(door: Door, authorization: str | bytes | None) -> VerifiedCaller:
    step = door.authentication(contract())
    assert step is not None
    asked = exchange(authorization)
    assert step(asked) is None
    assert asked.caller is not None
    return asked.caller


def authorise(door: Door, call: Call[Empty, Empty], caller: VerifiedCaller) -> None:
    step = door.authorisation(call)
    assert step is not None
    asked = exchange()
    asked.caller = caller
    step(asked)


def token(**claims: Any) -> str:
    now = int(time.time())
    good = {"iss": "me", "aud": "shop", "sub": "ann", "iat": now, "exp": now + 60}
    return jwt.encode(good | claims, SECRET)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(door: Door, scheme: str) -> None:
    """T51."""
    assert authenticate(door, f"{scheme} {token()}").caller.subject == "ann"


def test_a_header_may_come_as_bytes(door: Door) -> None:
    text = f"Bearer {token()}"

    assert authenticate(door, text.encode()) is authenticate(door, text)


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer ", "Basic YTpi", b"\xff\xfe", "Token x"])
def test_who_presents_no_token_is_asked_for_one(door: Door, value: str | bytes | None) -> None:
    """T52, T54, T55."""
    with pytest.raises(Refusal) as caught:
        authenticate(door, value)

    assert caught.value.kind is UNAUTHENTICATED
    assert caught.value.headers == (("WWW-Authenticate", 'Bearer realm="busgate"'),)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: f"Bearer  {text}",
        lambda text: f"Bearer {text} ",
        lambda text: f"Bearer {text}, Bearer {text}",
        lambda text: f"Bearer {text},x",
        lambda text: f"Bearer {text[:-1]}",
        lambda text: f"Bearer {text}\xe9",
        lambda text: "Bearer x",
        lambda text: f"Bearer {token(exp=1)}",
    ],
)
def test_every_token_that_does_not_hold_is_refused_alike(door: Door, spoil: Callable[[str], str]) -> None:
    """T52."""
    with pytest.raises(Refusal) as caught:
        authenticate(door, spoil(token()))

    assert (caught.value.kind, caught.value.detail) == (UNAUTHENTICATED, None)
    assert caught.value.headers == (("WWW-Authenticate", 'Bearer realm="busgate", error="invalid_token"'),)


def test_a_tab_after_the_scheme_is_refused(door: Door) -> None:
    """T52."""
    with pytest.raises(Refusal):
        authenticate(door, f"Bearer\t{token()}")


def test_the_reason_is_kept_for_the_record(door: Door) -> None:
    with pytest.raises(Refusal) as caught:
        authenticate(door, f"Bearer {token(exp=1)}")

    assert str(caught.value.__cause__) == "expired"


def test_a_public_contract_has_no_step_and_one_without_scopes_no_check(door: Door) -> None:
    assert door.authentication(contract(public=True)) is None
    assert door.authorisation(contract()) is None


@pytest.mark.parametrize("scope", ["orders:read orders:write", ["orders:write", "orders:read", "more"]])
def test_a_caller_with_all_scopes_may_call(door: Door, scope: str | list[str]) -> None:
    caller = authenticate(door, f"Bearer {token(scope=scope)}")

    authorise(door, contract(scopes={"orders:read", "orders:write"}), caller)


@pytest.mark.parametrize(
    "scope",
    ["", "orders", "orders:*", "ORDERS:READ", "orders:read\t", "\u043erders:read", "orders:readx", []],
)
def test_a_scope_must_match_exactly(door: Door, scope: str | list[str]) -> None:
    """T60."""
    caller = authenticate(door, f"Bearer {token(scope=scope)}")

    with pytest.raises(Refusal) as caught:
        authorise(door, contract(scopes={"orders:read"}), caller)

    assert caught.value.kind is FORBIDDEN
    assert caught.value.headers == (
        ("WWW-Authenticate", 'Bearer realm="busgate", error="insufficient_scope", scope="orders:read"'),
    )


# -- several schemes side by side


class Word:
    """A scheme for these tests: a word in a header of its own is the name of who calls."""

    def __init__(self, name: str, *, waits: bool = False) -> None:
        self.names = frozenset({name})
        self.challenge = f'{name} realm="busgate"'
        self.refusal = f"{self.challenge}, refused"
        self._header = name.encode()
        self._waits = waits

    def presented(self, exchange: Exchange) -> bool:
        return self._header in exchange.head.headers

    def verify(self, exchange: Exchange) -> VerifiedCaller | Awaitable[VerifiedCaller]:
        return self._later(exchange) if self._waits else self._verify(exchange)

    async def _later(self, exchange: Exchange) -> VerifiedCaller:
        return self._verify(exchange)

    def _verify(self, exchange: Exchange) -> VerifiedCaller:
        word = exchange.head.headers[self._header].decode()
        if word == "bad":
            raise CredentialRefused("a bad word")
        subject, _, tenant = word.partition("@")
        return VerifiedCaller(Caller(subject, tenant=tenant), 0.0, *self.names)


async def called(*schemes: Word, taken: set[str], **headers: str) -> str:
    """Who calls, with these headers."""
    asked = exchange(**headers)
    wait = authentication(schemes, taken)(asked)
    if wait is not None:
        await wait
    assert asked.caller is not None
    return asked.caller.caller.subject


@pytest.mark.parametrize("waits", [False, True])
async def test_any_scheme_that_the_contract_takes_will_do(waits: bool) -> None:
    schemes = Word("one"), Word("two", waits=waits)

    assert await called(*schemes, taken={"one", "two"}, two="ann") == "ann"


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    ("taken", "headers"),
    [
        ({"one", "two"}, {"one": "ann", "two": "bob"}),
        ({"one", "two"}, {"one": "ann", "two": "bad"}),
        ({"one", "two"}, {"one": "bad"}),
        ({"one", "two"}, {"two": "bad"}),
        ({"one"}, {"two": "ann"}),
        ({"one"}, {"one": "ann", "two": "bob"}),
        ({"one"}, {"one": "ann", "two": "bad"}),
        ({"one", "two"}, {"one": "ann@north", "two": "ann@south"}),
    ],
)
async def test_credentials_that_do_not_hold_or_name_different_callers_or_are_not_taken_are_refused_alike(
    taken: set[str], headers: dict[str, str], waits: bool
) -> None:
    """T56."""
    with pytest.raises(Refusal) as caught:
        await called(Word("one"), Word("two", waits=waits), taken=taken, **headers)

    assert (caught.value.kind, caught.value.detail) == (UNAUTHENTICATED, None)
    assert caught.value.headers == tuple(
        ("WWW-Authenticate", f'{name} realm="busgate", refused') for name in sorted(taken)
    )


async def test_two_credentials_of_one_caller_hold_together() -> None:
    schemes = Word("one"), Word("two", waits=True)

    assert await called(*schemes, taken={"two"}, one="ann", two="ann") == "ann"
    assert await called(*schemes, taken={"two"}, one="ann@north", two="ann") == "ann"


async def test_who_presents_nothing_is_told_all_that_is_taken() -> None:
    with pytest.raises(Refusal) as caught:
        await called(Word("one"), Word("two"), Word("three"), taken={"one", "three"})

    assert [value for _, value in caught.value.headers] == ['one realm="busgate"', 'three realm="busgate"']


def test_a_contract_whose_schemes_are_not_configured_cannot_be_served() -> None:
    table = {"issuer": "me", "audience": ["shop"], "keys": [{"secret": SECRET}]}
    settings = EdgeSettings(jwt=(IssuerSettings.model_validate(table),))

    assert faults_with(settings, Catalog([contract(schemes={"jwt", "key"})])) == []
    assert faults_with(settings, Catalog([contract(schemes={"key"})])) == [
        "contract shop.orders.list.v1: none of its schemes (key) is configured here; those are: jwt"
    ]


async def test_a_record_is_told_which_kind_of_credential_was_missing_and_the_client_is_not() -> None:
    told = []
    for headers in ({}, {"two": "ann"}, {"two": "ann", "three": "ann"}):
        with pytest.raises(Refusal) as caught:
            await called(Word("one"), Word("two"), Word("three"), taken={"one"}, **headers)
        told.append((str(caught.value.__cause__), caught.value.detail))

    assert told == [
        ("no credential of a kind that is configured", None),
        ("the contract takes one, not two", None),
        ("the contract takes one, not two and three", None),
    ]
