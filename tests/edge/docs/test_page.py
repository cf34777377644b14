"""The page is sound HTML that a browser may run nothing in but its script, and says what the contracts say."""

import json
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from importlib.resources import files
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel, create_model

from busgate.contracts import Call, Catalog, Example, FailureKind, Nothing, Problem, failure, http
from busgate.contracts.openapi import document
from busgate.contracts.security import Doors
from busgate.edge import refusal
from busgate.edge.docs.page import render

VOID = {"input", "link", "meta", "wbr"}
SCRIPT = files("busgate.edge.docs").joinpath("page.js").read_text()
STYLE = files("busgate.edge.docs").joinpath("page.css").read_text()


class Reader(HTMLParser):
    """Reads a page strictly: every element is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        assert len(attributes) == len(attrs), f"an attribute stands twice in {tag}"
        self.found.append((tag, attributes))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [had for name, had in self.found if name == tag and attributes.items() <= had.items()]

    def values(self, attribute: str) -> list[str]:
        return [had[attribute] or "" for _, had in self.found if attribute in had]


class Sku(BaseModel):
    """What is sold."""

    name: str = Field(description="In *letters*.", max_length=8)
    parts: list["Sku"] = []


class Place(BaseModel):
    shop: str
    tenant: Annotated[str, http.Header("X-Tenant")] = "main"
    sku: Sku
    count: int = Field(1, ge=1, le=9)


class Find(BaseModel):
    shop: str
    tag: list[str] = []


class Closed(Problem):
    """The shop is closed."""

    status = 409
    until: str


class Odd(BaseModel):
    code: str = Field(pattern="^Q{7}$")


CALLS: list[Call[Any, Any]] = [
    Call(
        "shop.place.v1",
        http.post("/{shop}/orders", status=201, location="/orders/{name}"),
        request=Place,
        reply=Sku,
        errors=[Closed],
        scopes={"b", "a"},
        timeout=2.5,
        summary="Place it",
        description="With *care*. <script>alert(1)</script> ![x](https://evil.example/x.png)\n\n# Big",
        examples=[
            Example("One", Place(shop="a b", tenant="t", sku=Sku(name="x")), Sku(name="x")),
            Example("At night", Place(shop="n", sku=Sku(name="x")), Closed("no", until="8:00")),
        ],
    ),
    Call("shop.find.v1", http.get("/{shop}/orders"), request=Find, reply=Sku, public=True),
    Call("odd.v1", http.put("/odd"), request=Odd, reply=Nothing),
    Call("drop.v1", http.delete("/odd", status=204), request=Nothing, reply=Nothing),
]


def page_of(calls: Iterable[Call[Any, Any]], **info: Any) -> Reader:
    head = {"title": "Shop", "version": "3"} | info
    return Reader(render(document(Catalog(calls), **head)).decode())


@pytest.fixture(scope="module")
def page() -> Reader:
    return page_of(CALLS)


def test_no_two_elements_have_one_id(page):
    ids = page.values("id")

    assert len(set(ids)) == len(ids)


def test_every_link_inside_the_page_and_every_label_leads_somewhere(page):
    ids = set(page.values("id"))

    inside = {link.removeprefix("#") for link in page.values("href") if link.startswith("#")}
    assert inside - ids == set()
    for attribute in ("for", "aria-describedby", "aria-labelledby", "aria-controls"):
        assert set(page.values(attribute)) - ids == set()


def test_every_control_has_a_name_for_those_who_do_not_see_it(page):
    labelled = set(page.values("for"))

    for tag in ("input", "textarea"):
        for control in page.all(tag):
            assert control["id"] in labelled or control["aria-label"]


def test_the_page_loads_nothing_but_its_own_files_and_runs_nothing_of_its_own_text(page):
    loaded = {*page.values("src"), *(link["href"] for link in page.all("link"))}

    assert loaded == {"docs/page.js", "docs/page.css", "docs/icon.svg"}
    assert [tag for tag, _ in page.found if tag in ("style", "img", "iframe", "object", "base")] == []
    assert [name for _, had in page.found for name in had if name.startswith("on") or name == "style"] == []
    assert len(page.all("script")) == 1
    assert not re.search("https?:|innerHTML|eval|Storage|cookie", SCRIPT)
    assert "url(" not in STYLE
    assert "@import" not in STYLE


def test_text_of_contracts_stays_text(page):
    assert "<script>alert(1)</script>" in page.text
    assert page.all("em")
    assert len(page.all("h1")) == 1


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50)
@given(st.text(st.sampled_from("<>&\"'`/=![]()*_#\n\\ a-x:j"), min_size=1), st.text(min_size=1))
def test_no_text_breaks_out_of_its_place(odd, any_text):
    def outline(reader: Reader) -> list[str]:
        return [tag for tag, _ in reader.found]

    def described(text: str) -> Reader:
        model = type("M", (BaseModel,), {"__annotations__": {"a": str}, "a": Field(examples=[text], title=text)})
        call: Call[Any, Any] = Call("a.v1", http.post("/a"), request=model, reply=model, summary=text)
        return page_of([call], title=text, version=text)

    assert outline(described(odd)) == outline(described(any_text)) == outline(described("x"))


def test_each_operation_says_how_long_it_takes_who_may_and_whether_it_can_be_repeated(page):
    assert "Answered within 2.5 s" in page.text
    assert "token with a and b" in page.text
    assert "no token needed" in page.text
    assert page.text.count("safe to repeat") == 3


def test_members_say_what_they_must_be(page):
    for words in ("at most 8 characters", "≥ 1, ≤ 9, by default 1", "list of Sku", "In the path", "In headers"):
        assert words in page.text


def test_models_that_hold_each_other_make_no_endless_page():
    models: list[type[BaseModel]] = [Sku]
    for _ in range(14):
        models.append(create_model("Level", **{f"to_{number}": (model, ...) for number, model in enumerate(models)}))  # type: ignore[call-overload]
    call: Call[Any, Any] = Call("a.v1", http.post("/a"), request=models[-1], reply=Sku)

    page = page_of([call])

    assert page.text.count("at most 8 characters") == 2


class Nested(RootModel["list[Nested] | dict[str, Nested] | int"]):
    pass


def test_a_model_that_is_a_list_of_itself_has_a_page():
    assert "list of Nested" in page_of([Call("a.v1", http.post("/a"), request=Nothing, reply=Nested)]).text


def test_a_list_in_a_query_is_shown_as_the_edge_takes_it():
    examples = [Example("Two", Find(shop="a", tag=["x", "y z"]), Sku(name="n"))]
    page = page_of([Call("a.v1", http.get("/{shop}"), request=Find, reply=Sku, examples=examples)])

    assert "GET /a?tag=x&tag=y+z" in page.text
    assert [one["value"] for one in page.all("input", name="tag")] == ["x,y z"]


def test_the_form_of_an_operation_holds_its_first_example(page):
    (form,) = [one for one in page.all("form") if one.get("data-method") == "POST"]

    assert (form["data-path"], form["data-timeout"], form["data-token"]) == ("/{shop}/orders", "2.5", "needed")
    assert [one["value"] for one in page.all("input", name="shop")] == ["a b", "string"]
    assert [one["data-in"] for one in page.all("input", name="X-Tenant")] == ["header"]
    assert '"name": "x"' in page.text


def test_a_body_without_a_valid_example_starts_from_the_schema(page):
    assert '"code": "string"' in page.text


def test_an_example_can_be_put_into_the_form(page):
    filled = [json.loads(had["data-fill"]) for had in page.all("button") if "data-fill" in had]

    assert filled[0][:2] == [["path", "shop", "a b"], ["header", "X-Tenant", "t"]]
    assert filled[0][2][:2] == ["body", "body"]
    assert json.loads(filled[0][2][2]) == {"sku": {"name": "x"}}
    assert "POST /a%20b/orders\nX-Tenant: t\n" in page.text


def test_declared_problems_can_be_found_by_their_type(page):
    assert [had["data-type"] for had in page.all("details") if "data-type" in had] == ["urn:problem:closed"]


def test_every_problem_of_the_gateway_is_explained_under_its_type(page):
    kinds = {one for table in (failure, refusal) for one in vars(table).values() if isinstance(one, FailureKind)}

    assert {kind.type for kind in kinds} == {one for one in page.values("id") if one.startswith("urn:")}
    assert {"executed", "not_executed", "unknown"} <= set(page.values("id"))


def test_what_the_script_looks_for_is_there(page):
    actions = set(re.findall(r"^  (?:async )?(\w+)\(button\)", SCRIPT, re.MULTILINE))
    ids = set(re.findall(r'getElementById\("([\w-]+)"\)', SCRIPT))
    places = set(page.values("data-in"))
    with_keys = page_of(CALLS, doors=Doors(lambda _: {"jwt", "key"}))

    assert actions == set(page.values("data-do"))
    assert ids <= set(with_keys.values("id"))
    assert ids - set(page.values("id")) == {"api-key"}
    assert places == {"path", "query", "header", "body", "wait"}
    assert {"token", "try", "result"} <= {name for text in page.values("class") for name in text.split()}


@pytest.mark.parametrize(
    ("schemes", "fields", "said", "tokens", "keys"),
    [
        ({"jwt"}, {"token"}, "token with a and b", True, False),
        ({"key"}, {"api-key"}, "API key with a and b", False, True),
        ({"jwt", "key", "signature"}, {"token", "api-key"}, "token or API key or signature with a and b", True, True),
    ],
)
def test_calls_are_tried_with_what_they_take(schemes, fields, said, tokens, keys):
    page = page_of(CALLS, doors=Doors(lambda _: schemes, "X-Shop-Key"))
    forms = [form for form in page.all("form") if form.get("data-path") == "/{shop}/orders"]
    headers = {
        one.get("id"): one.get("data-header") for one in page.all("input") if one.get("id") in ("token", "api-key")
    }

    assert headers.keys() == fields
    assert headers.get("api-key", "X-Shop-Key") == "X-Shop-Key"
    assert said in page.text
    assert any(("data-token" in form, "data-key" in form) == (tokens, keys) for form in forms)
    assert any("data-token" not in form and "data-key" not in form for form in page.all("form"))


def test_an_empty_catalog_has_a_page():
    assert "Problems" in page_of([]).text


def test_the_description_of_the_api_stands_at_its_head():
    page = page_of(CALLS, description="Ask *us* for a token.")

    assert "Ask us for a token." in page.text
