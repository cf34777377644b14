import json
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticSerializationError

from busgate.contracts.codec import explain, reader, writer


class Line(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sku: str
    count: int = Field(1, ge=0, alias="n")


class Basket(BaseModel):
    model_config = ConfigDict(extra="forbid")

    lines: list[Line] = []
    kind: Literal["gift", "plain"] = "plain"
    labels: dict[str, int] = {}


class Later(BaseModel):
    model_config = ConfigDict(defer_build=True)

    a: int


lines = st.builds(Line, sku=st.text(), n=st.integers(0, 2**40))
baskets = st.builds(
    Basket,
    lines=st.lists(lines, max_size=3),
    kind=st.sampled_from(["gift", "plain"]),
    labels=st.dictionaries(st.text(), st.integers(0, 9)),
)


@given(baskets)
def test_what_was_written_is_read_back(basket: Basket) -> None:
    assert reader(Basket)(writer(Basket)(basket)) == basket


@given(
    st.dictionaries(st.text(min_size=1), st.integers()).filter(
        lambda extra: not {"lines", "kind", "labels"} & extra.keys()
    )
)
def test_unknown_fields_are_ignored_even_where_the_model_forbids_them(extra: dict[str, int]) -> None:
    body = json.dumps({**extra, "lines": [{**dict.fromkeys(extra, 1), "sku": "A", "n": 2}]}).encode()

    assert reader(Basket)(body).model_extra is None


def test_names_on_the_wire_are_aliases() -> None:
    assert writer(Line)(Line(sku="A", n=2)) == b'{"sku":"A","n":2}'


def test_what_was_left_unset_stays_unset_where_asked() -> None:
    assert writer(Line, exclude_unset=True)(Line(sku="A")) == b'{"sku":"A"}'


def test_a_value_that_json_does_not_have_is_not_written() -> None:
    with pytest.raises(PydanticSerializationError):
        writer(Line)(Line.model_construct(sku=object()))  # type: ignore[arg-type]


def test_models_that_are_built_late_are_read() -> None:
    assert reader(Later)(b'{"a":1}').a == 1


def test_an_explanation_names_places_and_kinds() -> None:
    with pytest.raises(ValidationError) as caught:
        reader(Basket)(b'{"lines":[{"n":1}],"labels":{"a/b~":"x"}}')

    assert explain(caught.value) == "#/lines/0/sku (missing), #/labels/a~1b~0 (int_parsing)"


def test_a_long_explanation_is_cut() -> None:
    with pytest.raises(ValidationError) as caught:
        reader(Basket)(json.dumps({"lines": [{}] * 9}).encode())

    assert explain(caught.value).endswith("#/lines/4/sku (missing) and 4 more")


@given(st.text(), st.text(alphabet=st.characters(categories=["Lu"]), min_size=12))
def test_an_explanation_shows_no_value_and_breaks_no_line(key: str, value: str) -> None:
    with pytest.raises(ValidationError) as caught:
        reader(Basket)(json.dumps({"labels": {key: "!" + value}, "kind": "!" + value}).encode())

    assert "!" + value not in explain(caught.value).replace(key, "")
    assert explain(caught.value).isprintable()
