"""The caller as it travels."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busgate.contracts import Caller
from busgate.contracts.caller import CALLER_LIMIT

scopes = st.frozensets(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8), max_size=4)


callers = st.builds(
    Caller,
    st.text(max_size=50),
    st.text(max_size=50),
    scopes,
    st.dictionaries(st.text(max_size=9), st.integers(), max_size=3),
    st.frozensets(st.text(max_size=9), max_size=3),
    st.text(max_size=9),
)


@settings(deadline=None)
@given(callers)
def test_what_travels_comes_back(sent: Caller):
    read = Caller.from_json(sent.to_json())

    assert dataclasses.asdict(read) == dataclasses.asdict(sent)


def test_two_callers_are_the_same_when_issuer_and_subject_are():
    assert Caller("a", "x", frozenset({"s"}), {"b": 1}) == Caller("a", "x")
    assert hash(Caller("a", "x", frozenset({"s"}), {"b": 1})) == hash(Caller("a", "x"))
    assert Caller("a", "x") != Caller("a", "y")


def test_the_header_is_plain_ascii():
    assert Caller("ü\r\n", "é").to_json().isascii()
    assert b"\n" not in Caller("ü\r\n").to_json()


def test_claims_that_do_not_fit_are_refused_not_cut():
    with pytest.raises(ValueError, match="4096"):
        Caller("a", claims={"x": "y" * CALLER_LIMIT}).to_json()


def test_numbers_that_json_lacks_are_refused():
    with pytest.raises(ValueError):
        Caller("a", claims={"x": float("nan")}).to_json()


FORGED: list[Any] = [
    "",
    "null",
    "[]",
    "{}",
    '"a"',
    '{"sub":1}',
    '{"sub":"a","iss":1}',
    '{"sub":"a","scope":["a"]}',
    '{"sub":"a","roles":"a"}',
    '{"sub":"a","roles":[1]}',
    '{"sub":"a","tenant":null}',
    '{"sub":"a","claims":[]}',
    '{"sub":"a","claims":{"x":NaN}}',
    '{"sub":"a"',
    b"\xff",
    "[" * 4000,
    '{"sub":"a","claims":' + '{"a":' * 700 + "1" + "}" * 700 + "}",
    json.dumps({"sub": "a" * CALLER_LIMIT}),
]


@pytest.mark.parametrize("text", FORGED, ids=range(len(FORGED)))
def test_a_forged_header_is_a_value_error(text: str | bytes):
    with pytest.raises(ValueError):
        Caller.from_json(text)
