"""Secrets of a model: where they stand, and how they are kept out of what is shown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel
from typing_extensions import TypedDict

from busgate.contracts import Call, Nothing, Problem, Secret, http
from busgate.contracts.secret import MASK, reply_secret_paths, secret_paths, shown

Hidden = Annotated[str, Secret()]


class Card(BaseModel):
    number: Hidden
    month: int


class Payment(BaseModel):
    card: Card
    cards: list[Card] = []
    by_name: dict[str, Card] = {}
    pin: Hidden | None = None
    words: list[Hidden] = []
    token: Annotated[str, Secret(), Field(serialization_alias="accessToken")] = ""
    next: "Payment | None" = None


def test_secrets_are_found_wherever_they_stand() -> None:
    assert secret_paths(Payment) == [
        "accessToken",
        "by_name/*/number",
        "card/number",
        "cards/*/number",
        "next/*",
        "pin",
        "words/*",
    ]


class Tree(BaseModel):
    card: Hidden
    branches: Sequence["Tree"] = ()


class Cards(RootModel[list[Card]]):
    pass


@dataclass
class Plain:
    pin: Hidden
    name: str


class Typed(TypedDict):
    pin: Hidden


class Odd(BaseModel):
    cards: Cards
    by_name: Mapping[str, Card]
    plain: Plain
    typed: Typed
    slashed: Annotated[Hidden, Field(serialization_alias="a/b~c")]


def test_secrets_are_found_in_every_shape_that_json_has() -> None:
    assert secret_paths(Odd) == ["a~1b~0c", "by_name/*/number", "cards/*/number", "plain/pin", "typed/pin"]
    assert secret_paths(Cards) == ["*/number"]
    assert shown(b'{"a/b~c": "4711", "x": 1}', ["a~1b~0c"]) == {"a/b~c": MASK, "x": 1}


def test_below_a_model_that_holds_itself_everything_is_hidden() -> None:
    body = {"card": "1", "branches": [{"card": "2", "branches": [{"card": "3"}]}]}

    seen = shown(json.dumps(body).encode(), secret_paths(Tree))

    assert seen == {"card": MASK, "branches": [{"card": MASK, "branches": MASK}]}


def test_problems_have_secrets_too() -> None:
    class Declined(Problem):
        """The card was declined."""

        status = 402
        card: Hidden

    pay = Call("shop.pay.v1", http.post("/pay"), request=Card, reply=Nothing, errors=[Declined])

    assert reply_secret_paths(pay) == ["card"]


def test_a_model_without_secrets_has_none() -> None:
    class Plain(BaseModel):
        a: int

    assert secret_paths(Plain) == []


def test_what_is_shown_has_masks_in_place_of_secrets() -> None:
    body = {
        "card": {"number": "4711", "month": 7},
        "cards": [{"number": "1", "month": 1}],
        "words": ["a", "b"],
        "pin": None,
    }

    seen = shown(json.dumps(body).encode(), secret_paths(Payment))

    assert seen == {
        "card": {"number": MASK, "month": 7},
        "cards": [{"number": MASK, "month": 1}],
        "words": [MASK, MASK],
        "pin": MASK,
    }


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["card", "number", "x"]), inner),
    max_leaves=10,
)


@given(json_values, st.lists(st.sampled_from(["card", "number", "x", "*"]), min_size=1, max_size=3))
def test_masking_takes_any_value_and_leaves_all_else(value: Any, path: list[str]) -> None:
    seen = shown(json.dumps(value).encode(), ["/".join(path)])

    assert shown(json.dumps(value).encode(), []) == value
    assert seen == _expected(value, path)


def _expected(value: Any, path: list[str]) -> Any:
    if not path:
        return MASK
    if isinstance(value, dict):
        return {k: _expected(v, path[1:]) if path[0] in ("*", k) else v for k, v in value.items()}
    if isinstance(value, list) and path[0] == "*":
        return [_expected(item, path[1:]) for item in value]
    return value


def test_a_body_that_is_not_json_is_not_shown() -> None:
    assert shown(b"\xff card 4711", []) == "(11 bytes that are not JSON)"
    assert shown(b"", []) is None
