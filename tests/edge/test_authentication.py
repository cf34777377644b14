import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from pydantic import BaseModel

from busgate.contracts import Call, http
from busgate.edge.authentication import authenticate, authoriser
from busgate.edge.issuers import IssuerSettings
from busgate.edge.refusal import FORBIDDEN, UNAUTHENTICATED, Refusal
from busgate.edge.tokens import TokenVerifier

SECRET = "s" * 32


class Empty(BaseModel):
    pass


def contract(**settings: Any) -> Call[Empty, Empty]:
    return Call("shop.orders.list.v1", http.get("/orders"), request=Empty, reply=Empty, **settings)


@pytest.fixture
def verifier() -> TokenVerifier:
    table = {"issuer": "me", "audience": "shop", "keys": [{"secret": SECRET}]}
    return TokenVerifier([IssuerSettings.model_validate(table)])


def token(**claims: Any) -> str:
    now = int(time.time())
    good = {"iss": "me", "aud": "shop", "sub": "ann", "iat": now, "exp": now + 60}
    return jwt.encode(good | claims, SECRET)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(verifier: TokenVerifier, scheme: str) -> None:
    """T51."""
    assert authenticate(verifier, f"{scheme} {token()}").caller.subject == "ann"


def test_a_header_may_come_as_bytes(verifier: TokenVerifier) -> None:
    text = f"Bearer {token()}"

    assert authenticate(verifier, text.encode()) is authenticate(verifier, text)


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer ", "Basic YTpi", b"\xff\xfe", "Token x"])
def test_who_presents_no_token_is_asked_for_one(verifier: TokenVerifier, value: str | bytes | None) -> None:
    """T52, T54, T55."""
    with pytest.raises(Refusal) as caught:
        authenticate(verifier, value)

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
def test_every_token_that_does_not_hold_is_refused_alike(verifier: TokenVerifier, spoil: Callable[[str], str]) -> None:
    """T52."""
    with pytest.raises(Refusal) as caught:
        authenticate(verifier, spoil(token()))

    assert (caught.value.kind, caught.value.detail) == (UNAUTHENTICATED, None)
    assert caught.value.headers == (("WWW-Authenticate", 'Bearer realm="busgate", error="invalid_token"'),)


def test_a_tab_after_the_scheme_is_refused(verifier: TokenVerifier) -> None:
    """T52."""
    with pytest.raises(Refusal):
        authenticate(verifier, f"Bearer\t{token()}")


def test_the_reason_is_kept_for_the_record(verifier: TokenVerifier) -> None:
    with pytest.raises(Refusal) as caught:
        authenticate(verifier, f"Bearer {token(exp=1)}")

    assert str(caught.value.__cause__) == "expired"


def test_a_contract_without_scopes_has_no_check() -> None:
    assert authoriser(contract()) is None


@pytest.mark.parametrize("scope", ["orders:read orders:write", ["orders:write", "orders:read", "more"]])
def test_a_caller_with_all_scopes_may_call(verifier: TokenVerifier, scope: str | list[str]) -> None:
    authorise = authoriser(contract(scopes={"orders:read", "orders:write"}))
    assert authorise is not None

    authorise(authenticate(verifier, f"Bearer {token(scope=scope)}"))


@pytest.mark.parametrize(
    "scope",
    ["", "orders", "orders:*", "ORDERS:READ", "orders:read\t", "\u043erders:read", "orders:readx", []],
)
def test_a_scope_must_match_exactly(verifier: TokenVerifier, scope: str | list[str]) -> None:
    """T60."""
    authorise = authoriser(contract(scopes={"orders:read"}))
    assert authorise is not None

    with pytest.raises(Refusal) as caught:
        authorise(authenticate(verifier, f"Bearer {token(scope=scope)}"))

    assert caught.value.kind is FORBIDDEN
    assert caught.value.headers == (
        ("WWW-Authenticate", 'Bearer realm="busgate", error="insufficient_scope", scope="orders:read"'),
    )
