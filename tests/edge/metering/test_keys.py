"""Requests that differ in what is counted by have different keys, and every request has one."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from busgate.contracts import Call, Caller, http
from busgate.edge.exchange import Exchange
from busgate.edge.metering.keys import key_of, network_of
from busgate.edge.verified import VerifiedCaller


class Read(BaseModel):
    a: str
    b: str


call = Call("shop.read.v1", http.get("/{a}/{b}"), request=Read, reply=Read)
public = Call("shop.public.v1", http.get("/{a}/{b}"), request=Read, reply=Read, public=True)


def exchange(
    *,
    caller: Caller | None = None,
    credential: str = "",
    address: str = "192.0.2.1",
    variables: tuple[str, ...] = (),
    **headers: bytes,
) -> Exchange:
    verified = None if caller is None else VerifiedCaller(caller, 0, "jwt", credential=credential)
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    fake = SimpleNamespace(caller=verified, address=address, variables=variables, head=SimpleNamespace(headers=named))
    return cast(Exchange, fake)


def key(by: list[str], of: Call[Any, Any] = call, **request: Any) -> str:
    return key_of(by, of)(exchange(**request))


texts = st.text(max_size=80).filter(lambda text: "\ud800" not in text)


@given(texts, texts, texts, texts)
def test_two_callers_have_one_key_only_if_they_are_one(issuer, subject, other_issuer, other_subject):
    one = key(["caller"], caller=Caller(subject, issuer))
    other = key(["caller"], caller=Caller(other_subject, other_issuer))

    assert (one == other) == ((issuer, subject) == (other_issuer, other_subject))


@given(st.tuples(texts, texts), st.tuples(texts, texts))
def test_two_pairs_of_path_variables_have_one_key_only_if_they_are_one(one, other):
    keys = [key(["path:a", "path:b"], variables=each) for each in (one, other)]

    assert (keys[0] == keys[1]) == (one == other)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_headers_never_stand_in_a_key_and_differ_where_they_differ(one, other):
    keys = [key(["header:X-A"], x_a=each) for each in (one, other)]

    assert (keys[0] == keys[1]) == (one == other)
    assert all(len(each) <= 25 and each.isascii() for each in keys)


def test_a_header_of_a_megabyte_is_a_short_key():
    assert len(key(["header:X-A"], x_a=b"x" * 1_000_000)) == 25


@pytest.mark.parametrize("text", ["x" * 3000, "\x00", "a,b", "\ud800", "é", "#", " "])
def test_a_key_is_short_and_can_be_sent_whatever_it_is_made_of(text):
    for made in (
        key(["caller"], caller=Caller("me", text)),
        key(["path:a"], variables=(text, "")),
        key(["claim:c"], caller=Caller("me", claims={"c": text})),
    ):
        assert len(made) <= 100
        assert made.isascii()
        assert made.isprintable()


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
        ("::1", "::"),
        ("", ""),
        ("fe80::1%eth0", "fe80::"),
    ],
)
def test_an_ipv6_client_is_its_network(address, network):
    assert network_of(address) == network


def test_where_a_contract_is_public_the_address_stands_for_who_calls():
    words = ["caller", "key", "tenant", "issuer", "claim:plan"]

    assert {key([word], public, address="2001:db8::1") for word in words} == {"2001:db8::"}


def test_each_key_of_a_caller_counts_for_itself():
    ann = Caller("ann", "shop")

    assert key(["key"], caller=ann, credential="k1") != key(["key"], caller=ann, credential="k2")
    assert key(["caller"], caller=ann, credential="k1") == key(["caller"], caller=ann, credential="k2")


def test_other_things_to_count_by():
    ann = Caller("ann", "shop", tenant="t1", claims={"n": 5, "list": ["a"]})

    assert key(["tenant"], caller=ann) == "t1"
    assert key(["issuer"], caller=ann) == "shop"
    assert key(["claim:n"], caller=ann) == "5"
    assert key(["claim:none"], caller=ann) == ""
    assert key(["contract"], caller=ann) == "shop.read.v1"
    assert key([], caller=ann) == ""
