"""Requests become the canonical JSON of their contract, or are refused with the right status and places."""

import datetime as dt
import enum
import json
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, computed_field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from busgate.contracts import Call, Nothing, http
from busgate.contracts.http import Route
from busgate.edge.binding import Binding
from busgate.edge.invalid import COUNT_LIMIT, ERRORS_LIMIT
from busgate.edge.refusal import Refusal


def binding(request: type[BaseModel], route: Route | None = None) -> Binding:
    return Binding(Call("test.echo.v1", route or http.post("/echo"), request=request, reply=Nothing))


def refused(bound: Binding, body: bytes = b"", **rest: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        bound.bind(body, **rest)
    return caught.value


class OneInt(BaseModel):
    a: int


class Kinds(BaseModel):
    a: int = 0
    small: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 0
    when: dt.datetime | None = None
    day: dt.date | None = None
    text: Annotated[str, Field(max_length=4)] = ""
    code: Annotated[str, Field(pattern="^(a+)+$")] = "a"
    number: float = 0
    words: dict[str, str] = {}
    things: list[int] = []


KINDS_ROWS: dict[str, tuple[int, bytes]] = {
    "J08 2^53+1 stays exact": (200, b'{"a":9007199254740993}'),
    "J08 2^53+1 where it does not fit": (200, b'{"small":9007199254740993}'),
    "J09 2^64 for an int64": (422, b'{"small":18446744073709551616}'),
    "J10 -0 is 0": (200, b'{"a":-0}'),
    "J11 1.0 for an int": (422, b'{"a":1.0}'),
    "J12 string for an int": (422, b'{"a":"5"}'),
    "J13 true for an int": (422, b'{"a":true}'),
    "J23 U+0000": (422, b'{"text":"\\u0000"}'),
    "J28 null": (422, b"null"),
    "J29 array": (422, b"[]"),
    "J35 many elements where a number is expected": (422, b'{"a":[' + b"1," * 400_000 + b"1]}"),
    "J35 many elements where they fit": (200, b'{"things":[' + b"1," * 100_000 + b"1]}"),
    "J35 many elements that do not fit": (422, b'{"things":[' + b'"",' * 300_000 + b"1]}"),
    "J36 100000 unknown keys": (422, b"{" + b",".join(b'"k%d":1' % n for n in range(100_000)) + b"}"),
    "J37 __proto__": (422, b'{"__proto__":{}}'),
    "J37 constructor": (422, b'{"constructor":1}'),
    "J37 __class__": (422, b'{"__class__":1}'),
    "J37 model_config": (422, b'{"model_config":1}'),
    "J38 key of another case": (422, b'{"A":1}'),
    "J39 empty key": (422, b'{"":1}'),
    "J41 key in NFD": (422, '{"e\u0301":1}'.encode()),
    "J42 four characters of four bytes": (200, '{"text":"😀😀😀😀"}'.encode()),
    "J42 one character of five code points": (422, '{"text":"👩‍👩‍👧"}'.encode()),
    "J42 right-to-left mark": (200, '{"text":"\u200fא"}'.encode()),
    "J43 a pattern that backtracks": (422, b'{"code":"' + b"a" * 50_000 + b'!"}'),
    "J44 month 99": (422, b'{"day":"9999-99-99"}'),
    "J44 leap second": (422, b'{"when":"2016-12-31T23:59:60Z"}'),
    "J44 offset +25:00": (422, b'{"when":"2025-01-01T00:00:00+25:00"}'),
    "J44 year 10000": (422, b'{"when":"10000-01-01T00:00:00Z"}'),
    "J45 many keys": (200, b'{"words":{' + b",".join(b'"%d":""' % (n << 20) for n in range(20_000)) + b"}}"),
    "W07 lone surrogate": (400, b'{"text":"\\udfff"}'),
}


@pytest.mark.parametrize(("status", "body"), KINDS_ROWS.values(), ids=KINDS_ROWS)
def test_a_body_gets_the_status_of_the_table(status: int, body: bytes):
    bound = binding(Kinds)

    if status == 200:
        assert json.loads(bound.bind(body)) == json.loads(body)
    else:
        refusal = refused(bound, body)
        assert refusal.kind.status == status
        assert len(refusal.errors) <= ERRORS_LIMIT


def test_what_travels_is_our_own_serialisation():
    assert binding(Kinds).bind(b' { "text" : "\\u0061" ,\n"a":-0 } ') == b'{"a":0,"text":"a"}'


def test_exact_integers_stay_exact():
    assert binding(OneInt).bind(b'{"a":9007199254740993}') == b'{"a":9007199254740993}'


def test_an_empty_body_is_refused_where_fields_come_from_it():
    assert refused(binding(OneInt), b"").kind.status == 400


@pytest.mark.parametrize("method", [http.get, http.delete])
def test_a_body_on_get_and_delete_is_refused(method: Any):
    """K15"""
    refusal = refused(binding(OneInt, method("/echo")), b'{"a":1}', query="a=1")

    assert refusal.kind.status == 400


def test_a_body_is_optional_where_no_field_comes_from_it():
    class Cancel(BaseModel):
        id: int

    bound = binding(Cancel, http.post("/orders/{id}/cancel"))

    assert not bound.body_required
    assert bound.bind(b"", variables=["7"]) == bound.bind(b" {} ", variables=["7"]) == b'{"id":7}'
    assert refused(bound, b'{"x":1}', variables=["7"]).errors[0]["pointer"] == "#/x"


# -- path, query and headers


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Search(BaseModel):
    tenant: Annotated[str, http.Header("X-Tenant")]
    region: Annotated[list[str], http.Header("X-Region")] = []
    id: uuid.UUID
    limit: Annotated[int, Field(le=100)] = 10
    exact: bool = False
    price: float | None = None
    level: Level | None = None
    since: dt.date | None = None
    amount: Decimal | None = None
    sort: Literal["up", "down"] = "up"
    tag: list[str] = []
    levels: set[int] | None = None


ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def search(query: str = "", *, path: str = ID, **headers: list[str]) -> dict[str, Any]:
    given_headers = {"X-Tenant": ["t"]} | {name.replace("_", "-"): values for name, values in headers.items()}
    return {"variables": [path], "query": query, "headers": lambda name: given_headers.get(name, ())}


SEARCH = binding(Search, http.get("/things/{id}"))


def test_each_value_is_read_by_its_field():
    query = "limit=50&exact=true&price=1e2&level=2&since=2025-02-03&amount=1.50&sort=down&tag=a&tag=b%20c&levels=3"

    text = SEARCH.bind(b"", **search(query))

    assert json.loads(text) == {
        "tenant": "t",
        "id": ID,
        "limit": 50,
        "exact": True,
        "price": 100.0,
        "level": 2,
        "since": "2025-02-03",
        "amount": "1.50",
        "sort": "down",
        "tag": ["a", "b c"],
        "levels": [3],
    }


def test_what_was_not_given_stays_unset():
    text = SEARCH.bind(b"", **search())

    assert Search.model_validate_json(text).model_fields_set == {"tenant", "id"}


def test_a_list_in_headers_is_read_from_one_line_and_from_several():
    text = SEARCH.bind(b"", **search(X_Region=["eu, us", "asia"]))

    assert json.loads(text)["region"] == ["eu", "us", "asia"]


PARAMETER_ROWS: dict[str, tuple[int, dict[str, Any], dict[str, str]]] = {
    "path of the wrong type": (422, search(path="x"), {"in": "path", "name": "id"}),
    "query of the wrong type": (422, search("limit=x"), {"in": "query", "name": "limit"}),
    "query that breaks a rule": (422, search("limit=101"), {"in": "query", "name": "limit"}),
    "query that is empty": (422, search("limit="), {"in": "query", "name": "limit"}),
    "query without =": (422, search("limit"), {"in": "query", "name": "limit"}),
    "query of nan": (422, search("price=nan"), {"in": "query", "name": "price"}),
    "query of 1e400": (422, search("price=1e400"), {"in": "query", "name": "price"}),
    "query of a long integer": (422, search("limit=" + "9" * 5000), {"in": "query", "name": "limit"}),
    "query of an unknown choice": (422, search("sort=left"), {"in": "query", "name": "sort"}),
    "element of a list": (422, search("levels=1&levels=x"), {"in": "query", "name": "levels"}),
    "unknown query": (422, search("other=1"), {"in": "query", "name": "other"}),
    "query of another case": (422, search("Limit=1"), {"in": "query", "name": "Limit"}),
    "query that a header binds": (422, search("tenant=x"), {"in": "query", "name": "tenant"}),
    "query that the path binds": (422, search(f"id={ID}"), {"in": "query", "name": "id"}),
    "header missing": (422, search(X_Tenant=[]), {"in": "header", "name": "X-Tenant"}),
    "header with NUL": (422, search(X_Tenant=["\0"]), {"in": "header", "name": "X-Tenant"}),
    "query twice": (400, search("limit=1&limit=1"), {}),
    "query twice by escape": (400, search("limit=1&%6cimit=2"), {}),
    "header twice": (400, search(X_Tenant=["a", "b"]), {}),
    "header that is not UTF-8": (400, search(X_Tenant=["\udcff"]), {}),
    "query that is not UTF-8": (400, search("tag=%ff"), {}),
    "query with a broken escape": (400, search("tag=%zz"), {}),
    "query with NUL": (400, search("tag=%00"), {}),
    "query with too many pairs": (400, search("tag=a&" * 300), {}),
}


@pytest.mark.parametrize(("status", "request_", "place"), PARAMETER_ROWS.values(), ids=PARAMETER_ROWS)
def test_a_bad_parameter_is_refused_by_name(status: int, request_: dict[str, Any], place: dict[str, str]):
    refusal = refused(SEARCH, **request_)

    assert refusal.kind.status == status
    assert [{name: one.get(name) for name in place} for one in refusal.errors] == ([place] if place else [])


def test_all_bad_parameters_are_named_at_once():
    refusal = refused(SEARCH, **search("limit=x&exact=perhaps", path="x"))

    assert [one["name"] for one in refusal.errors] == ["id", "limit", "exact"]


def test_a_query_on_a_contract_with_a_body_is_refused():
    assert refused(binding(OneInt), b'{"a":1}', query="a=1").kind.status == 422
    assert binding(OneInt).bind(b'{"a":1}', query="&") == b'{"a":1}'


class Update(BaseModel):
    id: int
    trace: Annotated[str | None, http.Header("X-Trace")] = None
    name: str | None = None
    lines: list[int] = []


UPDATE = binding(Update, http.patch("/things/{id}"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", b'{"id":5}'),
        (b" {\n} ", b'{"id":5}'),
        (b'{"name":"x"}', b'{"id":5,"name":"x"}'),
        (b'\t{ "lines" : [1] } \r\n', b'{"id":5,"lines":[1]}'),
        (b'{"name":null}', b'{"id":5,"name":null}'),
        (b'{"name":"}{"}', b'{"id":5,"name":"}{"}'),
    ],
)
def test_path_and_body_are_merged(body: bytes, expected: bytes):
    assert UPDATE.bind(body, variables=["5"]) == expected


@pytest.mark.parametrize("body", [b'{"id":5}', b'{"\\u0069d":6}', b'{"name":"x","id":null}'])
def test_a_body_field_that_the_path_binds_is_refused(body: bytes):
    refusal = refused(UPDATE, body, variables=["5"])

    assert refusal.kind.status == 422
    assert refusal.errors == [{"pointer": "#/id", "detail": "This comes from the path"}]


def test_a_body_field_that_a_header_binds_is_refused_whether_the_header_is_there_or_not():
    assert refused(UPDATE, b'{"trace":"x"}', variables=["5"]).kind.status == 422


def test_body_and_parameters_are_strict_and_lax_each():
    assert refused(UPDATE, b'{"lines":["1"]}', variables=["5"]).errors[0]["pointer"] == "#/lines/0"


# -- names


class Aliased(BaseModel):
    model_config = ConfigDict(validate_by_name=True)

    order_id: int = Field(alias="orderId")
    from_: str = Field("", alias="from")


def test_json_names_are_the_only_names():
    bound = binding(Aliased, http.post("/orders/{orderId}"))

    assert bound.bind(b'{"from":"x"}', variables=["5"]) == b'{"orderId":5,"from":"x"}'
    assert refused(bound, b'{"order_id":6}', variables=["5"]).kind.status == 422
    assert refused(bound, b'{"from_":"x"}', variables=["5"]).errors[0]["pointer"] == "#/from_"


# -- errors


class Line(BaseModel):
    sku: str
    count: int | list[int] = 1


class Deep(BaseModel):
    lines: list[Line]
    by_name: dict[str, Line] = {}
    code: str = "a"
    kind: Literal["x", "y"] = "x"
    at: uuid.UUID | None = None

    @field_validator("code")
    @classmethod
    def check_code(cls, value: str) -> str:
        if value == "custom":
            raise PydanticCustomError("code_rule", "a code is never custom")
        if value == "filled":
            raise PydanticCustomError("code_rule", "not {value}", {"value": value})
        return str(int(value, 16))

    @model_validator(mode="after")
    def check_all(self) -> "Deep":
        assert self.kind != "y" or self.lines, "SECRET"
        return self


POINTERS: dict[str, tuple[str, str, str]] = {
    "missing": ('{"lines":[{"sku":"a"},{}]}', "#/lines/1/sku", "Field required"),
    "missing at the top": ("{}", "#/lines", "Field required"),
    "unknown": ('{"lines":[{"sku":"a","x~/y z":1}]}', "#/lines/0/x~0~1y%20z", "Extra inputs are not permitted"),
    "member of a dict": ('{"lines":[],"by_name":{"a/b":{}}}', "#/by_name/a~1b/sku", "Field required"),
    "not an object": ('{"lines":["SECRET"]}', "#/lines/0", "Input should be an object"),
    "branch of a union": (
        '{"lines":[{"sku":"a","count":"SECRET"}]}',
        "#/lines/0/count",
        "Input should be a valid integer",
    ),
    "inside a branch": (
        '{"lines":[{"sku":"a","count":["SECRET"]}]}',
        "#/lines/0/count",
        "Input should be a valid integer",
    ),
    "choice": ('{"lines":[],"kind":"SECRET"}', "#/kind", "Input should be 'x' or 'y'"),
    "error with a piece of the input": ('{"lines":[],"at":"SECRET"}', "#/at", "Input is not valid (uuid_parsing)"),
    "ValueError of the author": ('{"lines":[],"code":"SECRET"}', "#/code", "Input is not valid (value_error)"),
    "message of the author": ('{"lines":[],"code":"custom"}', "#/code", "a code is never custom"),
    "message filled by the author": ('{"lines":[],"code":"filled"}', "#/code", "Input is not valid (code_rule)"),
    "rule of the whole": ('{"lines":[],"kind":"y"}', "#", "Input is not valid (assertion_error)"),
}


@pytest.mark.parametrize(("body", "pointer", "detail"), POINTERS.values(), ids=POINTERS)
def test_an_error_has_a_pointer_and_says_nothing_of_the_input(body: str, pointer: str, detail: str):
    refusal = refused(binding(Deep), body.encode())

    assert refusal.errors[0] == {"pointer": pointer, "detail": detail}
    assert "SECRET" not in f"{refusal}{refusal.errors}"
    assert refusal.__cause__ is None and refusal.__suppress_context__


def test_at_most_twenty_errors_are_listed():
    lines = ",".join(["{}"] * 100)

    assert len(refused(binding(Deep), f'{{"lines":[{lines}]}}'.encode()).errors) == ERRORS_LIMIT


def test_an_avalanche_of_errors_is_only_counted():
    lines = ",".join(["{}"] * (COUNT_LIMIT + 1))

    assert refused(binding(Deep), f'{{"lines":[{lines}]}}'.encode()).errors == [
        {"pointer": "#", "detail": f"{COUNT_LIMIT + 1} errors"}
    ]


def test_unknown_members_are_counted_and_some_are_named():
    body = json.dumps({f"k{n}": 1 for n in range(50)}).encode()

    refusal = refused(binding(OneInt), body)

    assert refusal.detail == "the body has 50 unknown members"
    assert [one["pointer"] for one in refusal.errors] == [f"#/k{n}" for n in range(ERRORS_LIMIT)]


def test_unknown_members_are_refused_at_every_depth_whatever_the_model_says():
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        a: int = 0

    class Outer(BaseModel):
        inner: list[Open] = []

    assert refused(binding(Outer), b'{"inner":[{"b":1}]}').errors[0]["pointer"] == "#/inner/0/b"
    assert refused(binding(Open), b'{"b":1}').errors[0]["pointer"] == "#/b"


def test_computed_fields_do_not_travel():
    class Computed(BaseModel):
        a: int

        @computed_field  # type: ignore[prop-decorator]
        @property
        def double(self) -> int:
            return 2 * self.a

    assert binding(Computed).bind(b'{"a":1}') == b'{"a":1}'


def test_a_model_that_waits_for_its_types_is_completed():
    class Late(BaseModel):
        model_config = ConfigDict(defer_build=True)
        a: int

    assert binding(Late).bind(b'{"a":1}') == b'{"a":1}'


# -- round trip


class Everything(BaseModel):
    a: int = 1
    b: str = "b"
    c: float | None = None
    d: bool = False
    e: list[Line] = []
    f: dict[str, int] = {}
    g: dt.datetime | None = None
    h: Decimal | None = None
    i: uuid.UUID | None = None
    j: Level = Level.LOW
    k: dt.timedelta | None = None
    l: tuple[int, str] | None = None  # noqa: E741 - a letter as good as any
    m: bytes = b""
    n: Any = None


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10)
everything = st.fixed_dictionaries(
    {},
    optional={
        "a": st.integers(),
        "b": texts,
        "c": st.floats(allow_nan=False, allow_infinity=False) | st.none(),
        "d": st.booleans(),
        "e": st.lists(st.builds(Line, sku=texts, count=st.integers() | st.lists(st.integers())), max_size=3),
        "f": st.dictionaries(texts, st.integers(), max_size=3),
        "g": st.datetimes(timezones=st.just(dt.UTC)),
        "h": st.decimals(allow_nan=False, allow_infinity=False),
        "i": st.uuids(),
        "j": st.sampled_from(Level),
        "k": st.timedeltas(min_value=dt.timedelta(-9999), max_value=dt.timedelta(9999)),
        "l": st.tuples(st.integers(), texts),
        "m": texts.map(str.encode),
        "n": st.recursive(st.none() | texts | st.integers(), st.lists, max_leaves=5),
    },
)

EVERYTHING = binding(Everything)


@settings(deadline=None)
@given(everything)
def test_what_a_client_sends_is_what_a_worker_reads(values: dict[str, Any]):
    sent = Everything(**values)

    text = EVERYTHING.bind(sent.model_dump_json(exclude_unset=True, indent=1).encode())
    received = Everything.model_validate_json(text, extra="ignore")

    assert received == sent
    assert received.model_fields_set == sent.model_fields_set
    assert EVERYTHING.bind(text) == text


@settings(deadline=None)
@given(st.integers(), st.lists(texts, max_size=5), st.floats(allow_nan=False, allow_infinity=False))
def test_what_stands_in_a_query_is_what_a_worker_reads(limit: int, tags: list[str], price: float):
    from urllib.parse import urlencode

    class Query(BaseModel):
        limit: int
        price: float
        tag: list[str] = []

    query = urlencode([("limit", limit), *(("tag", tag) for tag in tags), ("price", price)])

    text = binding(Query, http.get("/")).bind(b"", query=query)

    assert Query.model_validate_json(text) == Query(limit=limit, price=price, tag=tags)


@settings(deadline=None)
@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode), st.text(max_size=40), st.text(max_size=20))
def test_whatever_comes_in_is_bound_or_refused(body: bytes, query: str, variable: str):
    for bound in (UPDATE, SEARCH):
        try:
            text = bound.bind(body, variables=[variable], query=query, headers=lambda _: [variable])
        except Refusal as refusal:
            assert refusal.kind.status in (400, 422)
        else:
            json.loads(text)
