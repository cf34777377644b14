"""The examples of an API document: the author's where there are some, else what the schemas say."""

import json
from typing import Annotated, Any, Literal, Optional

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, model_validator

from busgate.contracts import Call, Catalog, Example, Nothing, Problem, http
from busgate.contracts.openapi import document
from busgate.contracts.sample import SCHEMAS, sample


class Find(BaseModel):
    shop: str
    limit: int = Field(10, le=100)
    tenant: Annotated[str, http.Header("X-Tenant")] = "main"


class Found(BaseModel):
    count: int


class Closed(Problem):
    """The shop is closed."""

    status = 409
    until: str


class Place(BaseModel):
    shop: str
    sku: str = Field(pattern="^[A-Z]-[0-9]$")
    count: int = Field(ge=3, lt=10)
    note: str | None = None


class Odd(BaseModel):
    sku: str = Field(pattern="^Q{7}$")


class Same(BaseModel):
    first: int
    second: int

    @model_validator(mode="after")
    def _differ(self) -> "Same":
        if self.first == self.second:
            raise ValueError("they are the same")
        return self


def described(*calls: Call[Any, Any]) -> list[Any]:
    paths = document(Catalog(calls))["paths"]
    return [operation for path in paths.values() for operation in path.values()]


def values(place: Any) -> dict[str, Any]:
    return {key: example["value"] for key, example in place.get("examples", {}).items()}


def test_a_given_example_stands_under_one_name_at_parameters_and_answer() -> None:
    (found,) = described(
        Call(
            "find.v1",
            http.get("/{shop}/things"),
            request=Find,
            reply=Found,
            errors=[Closed],
            examples=[
                Example("Few", Find(shop="north", limit=5, tenant="t"), Found(count=3)),
                Example("At night", Find(shop="south"), Closed(until="8:00")),
            ],
        )
    )

    shown = {one["name"]: values(one) for one in found["parameters"] if "name" in one}
    assert shown == {"shop": {"few": "north", "at-night": "south"}, "limit": {"few": 5}, "X-Tenant": {"few": "t"}}
    assert values(found["responses"]["200"]["content"]["application/json"]) == {"few": {"count": 3}}
    (conflict,) = values(found["responses"]["409"]["content"]["application/problem+json"]).values()
    assert (conflict["type"], conflict["until"]) == ("urn:problem:closed", "8:00")


def test_without_examples_one_is_made_up_for_the_request_and_for_each_answer() -> None:
    (made,) = described(Call("a.v1", http.post("/{shop}"), request=Place, reply=Found, errors=[Closed]))

    assert values(made["parameters"][0]) == {"made-up": "string"}
    assert values(made["requestBody"]["content"]["application/json"]) == {"made-up": {"sku": "A-1", "count": 3}}
    assert values(made["responses"]["200"]["content"]["application/json"]) == {"made-up": {"count": 1}}
    assert values(made["responses"]["409"]["content"]["application/problem+json"]) == {
        "made-up-closed": {
            "type": "urn:problem:closed", "title": "The shop is closed", "status": 409, "outcome": "executed",
            "until": "string",
        }
    }  # fmt: skip


def test_an_example_of_a_problem_leaves_the_reply_to_be_made_up() -> None:
    examples = [Example("Closed", Find(shop="x"), Closed(until="8:00"))]
    (made,) = described(
        Call("a.v1", http.get("/{shop}"), request=Find, reply=Found, errors=[Closed], examples=examples)
    )

    assert values(made["parameters"][0]) == {"closed": "x"}
    assert list(values(made["responses"]["200"]["content"]["application/json"])) == ["made-up"]
    assert list(values(made["responses"]["409"]["content"]["application/problem+json"])) == ["closed"]


@pytest.mark.parametrize("model", [Odd, Same])
def test_what_would_be_refused_is_not_shown_as_an_example(model: type[BaseModel]) -> None:
    (made,) = described(Call("a.v1", http.post("/a"), request=model, reply=model))

    assert "examples" not in made["requestBody"]["content"]["application/json"]
    assert "examples" not in made["responses"]["200"]["content"]["application/json"]


def test_a_call_that_takes_and_gives_nothing_has_no_examples() -> None:
    (made,) = described(Call("a.v1", http.delete("/a", status=204), request=Nothing, reply=Nothing))

    assert "examples" not in json.dumps(made)


def test_an_example_of_a_model_is_the_example_of_its_request() -> None:
    class Find2(Find, json_schema_extra={"examples": [{"shop": "west", "limit": 3}]}):
        pass

    (made,) = described(Call("a.v1", http.get("/{shop}"), request=Find2, reply=Found))

    assert [values(one) for one in made["parameters"][:2]] == [{"made-up": "west"}, {"made-up": 3}]


class Tree(BaseModel):
    name: str
    parent: "Tree | None"
    children: list["Tree"]
    by_name: dict[str, "Tree"]


class Endless(BaseModel):
    again: "Endless"


def sampled(hint: Any) -> Any:
    schema = TypeAdapter(hint).json_schema(ref_template=SCHEMAS + "{model}")
    return sample(schema, schema.get("$defs", {}))


def test_models_that_hold_themselves_have_an_end() -> None:
    assert sampled(Tree) == {"name": "string", "parent": None, "children": [], "by_name": {}}
    assert json.dumps(sampled(Endless))


numbers = st.builds(
    lambda kind, low, width, step, open_low: Annotated[
        kind,
        Field(**({"gt": low} if open_low else {"ge": low}), le=low + width + 2 * (step or 1), multiple_of=step),
    ],
    st.sampled_from([int, float]),
    st.integers(-50, 50),
    st.integers(0, 20),
    st.sampled_from([None, 2, 5]),
    st.booleans(),
)
texts = st.builds(
    lambda low, width: Annotated[str, Field(min_length=low, max_length=low + width)],
    st.integers(0, 40),
    st.integers(0, 5),
)
plain = numbers | texts | st.sampled_from([bool, None, Literal["b", "a"], dict[str, int], tuple[int, str], Any, bytes])
hints = st.recursive(
    plain,
    lambda inner: st.one_of(
        inner.map(lambda hint: list[hint]),  # type: ignore[valid-type]
        inner.map(lambda hint: Optional[hint]),  # noqa: UP045 - None | None is none
        inner.map(lambda hint: Annotated[list[hint], Field(min_length=2, max_length=3)]),  # type: ignore[valid-type]
    ),
    max_leaves=4,
)


@given(hints)
def test_a_sample_fits_its_schema(hint: Any) -> None:
    schema = TypeAdapter(hint).json_schema()

    assert jsonschema.Draft202012Validator(schema).is_valid(sample(schema, {}))
