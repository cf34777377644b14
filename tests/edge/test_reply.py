"""What a worker answered is checked and written anew, or it is a failure with a status of its own."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel, computed_field

from busgate.contracts import Call, CallFailed, Nothing, Problem, http
from busgate.contracts.failure import BAD_REPLY, HANDLER_CRASHED, NO_ROUTE, TIMEOUT, WORKER_KINDS, FailureKind
from busgate.contracts.http import Route
from busgate.edge.reply import ReplyReader


class Item(BaseModel):
    sku: str
    price: float = 0


class Order(BaseModel):
    id: str
    note: str | None = None
    items: list[Item] = []
    line_count: int = Field(0, alias="lineCount")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> float:
        return sum(item.price for item in self.items)


class OutOfStock(Problem):
    """Not enough in stock."""

    status = 409
    sku: str
    near: tuple[uuid.UUID, ...] = ()


class Closed(Problem):
    status = 403


class Undeclared(Problem):
    status = 410


def reader(reply: type[BaseModel] = Order, route: Route | None = None, **more: Any) -> ReplyReader:
    contract = Call("test.x.v1", route or http.post("/x"), request=Nothing, reply=reply, errors=[OutOfStock, Closed])
    return ReplyReader(contract, **more)


def failed(call: Any, *args: Any, **more: Any) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        call(*args, **more)
    return caught.value


def test_nothing_undeclared_leaves():
    body, _ = reader().reply(b'{"id":"1","secret":1,"items":[{"sku":"a","cost":2,"price":1.5}]}')

    assert json.loads(body) == {
        "id": "1",
        "note": None,
        "items": [{"sku": "a", "price": 1.5}],
        "lineCount": 0,
        "total": 1.5,
    }


def test_a_reply_is_written_anew():
    class Small(BaseModel):
        a: int

    assert reader(Small).reply(b'\n{ "\\u0061" : -0, "a": 7 }') == (b'{"a":7}', None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"null",
        b"[]",
        b"{}",
        b'{"id":1}',
        b'{"id":"1","lineCount":"2"}',
        b'{"id":"1","items":[{"sku":"a","price":NaN}]}',
        b'{"id":"1","items":[{"sku":"a","price":-Infinity}]}',
        b'{"id":"1","items":[{"sku":"a","price":1e999}]}',
        b'{"id":"1","items":[{"sku":"a","price":"nan"}]}',
        b'{"id":"\xff"}',
        b'{"id":"\\ud800"}',
        b"[" * 100_000,
        b'{"id":"1","items":[' + b"{}," * 2000 + b"{}]}",
    ],
)
def test_what_does_not_match_is_a_bad_reply_and_says_nothing_of_its_values(body: bytes):
    failure = failed(reader().reply, body.replace(b"not json", b"SECRET"), service="orders")

    assert failure.kind is BAD_REPLY
    assert failure.service == "orders"
    assert "SECRET" not in str(failure)


def test_a_bad_reply_names_the_place_in_the_contract():
    assert failed(reader().reply, b'{"note":"x"}').detail == "Field required (at #/id)"
    assert failed(reader().reply, b'{"id":"1","items":[{}]}').detail == "Field required (at #/items)"


def test_a_reply_that_is_too_large_is_a_bad_reply():
    small = reader(limit=100)
    body = b'{"id":"%b"}' % (b"x" * 100)

    assert failed(small.reply, body).kind is BAD_REPLY
    assert failed(small.problem, body).kind is BAD_REPLY


def test_a_reply_can_be_a_list():
    assert reader(RootModel[list[Item]]).reply(b'[{"sku":"a","x":1}]')[0] == b'[{"sku":"a","price":0.0}]'


def test_no_content_has_no_body_but_is_checked():
    empty = reader(Nothing, http.delete("/x", status=204))

    assert empty.reply(b"{}") == (b"", None)
    assert failed(empty.reply, b"").kind is BAD_REPLY


# -- Location


def location(value: Any, hint: Any = str) -> str | None:
    class Made(BaseModel):
        id: hint

    made = reader(Made, http.post("/x", status=201, location="/orders/{id}/lines"))
    return made.reply(json.dumps({"id": value}).encode())[1]


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        ("a1", str, "/orders/a1/lines"),
        (7, int, "/orders/7/lines"),
        ("7c9e6679-7425-40de-944b-e07fc1f90ae7", uuid.UUID, "/orders/7c9e6679-7425-40de-944b-e07fc1f90ae7/lines"),
        ("a/../b?c#d", str, "/orders/a%2F..%2Fb%3Fc%23d/lines"),
        ("a\r\nSet-Cookie: x", str, "/orders/a%0D%0ASet-Cookie%3A%20x/lines"),
        ("é", str, "/orders/%C3%A9/lines"),
        ("..", str, None),
        (".", str, None),
        ("", str, None),
        (None, str | None, None),
    ],
)
def test_location_is_one_encoded_segment_for_each_value(value: Any, hint: Any, expected: str | None):
    assert location(value, hint) == expected


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_location_never_breaks_out_of_its_place(value: str):
    made = location(value)

    assert made is None or (made.isascii() and made.isprintable() and " " not in made and made.count("/") == 3)


# -- problems


def test_a_declared_problem_is_read_through_its_class():
    sent = OutOfStock("only two left", sku="A-1", near=(uuid.UUID(int=1),))

    problem = reader().problem(json.dumps(sent.document() | {"status": 200, "secret": 1}).encode())

    assert isinstance(problem, OutOfStock)
    assert problem.document() == sent.document()
    assert problem.status == 409


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        b"[]",
        b'"urn:problem:out-of-stock"',
        b"{}",
        b'{"type":null}',
        b'{"type":[1]}',
        b'{"type":{}}',
        b'{"type":"urn:problem:out-of-stock"}',
        b'{"type":"urn:problem:out-of-stock","sku":1}',
        b'{"type":"urn:problem:out-of-stock","sku":"a","detail":1}',
        b'{"type":"urn:problem:out-of-stock","sku":"a","x":1e999}',
        json.dumps(Undeclared("SECRET").document()).encode(),
        json.dumps({"type": "about:blank", "detail": "SECRET", "status": 400}).encode(),
        json.dumps({"type": NO_ROUTE.type, "detail": "SECRET"}).encode(),
        json.dumps({"type": TIMEOUT.type}).encode(),
        json.dumps({"type": "urn:busgate:unauthenticated", "status": 401}).encode(),
    ],
)
def test_an_undeclared_or_broken_problem_is_a_bad_reply(document: bytes):
    failure = failed(reader().problem, document, service="orders")

    assert failure.kind is BAD_REPLY
    assert failure.service == "orders"
    assert "SECRET" not in str(failure)


@pytest.mark.parametrize("kind", WORKER_KINDS.values(), ids=lambda kind: kind.name)
def test_what_a_worker_says_of_itself_keeps_its_kind(kind: FailureKind):
    failure = failed(reader().problem, json.dumps({"type": kind.type, "status": 200}).encode(), service="orders")

    assert (failure.kind, failure.service, failure.detail) == (kind, "orders", None)


@pytest.mark.parametrize(
    ("kind", "detail", "expected"),
    [
        ("too-late", "0.2 s after its deadline", "0.2 s after its deadline"),
        ("nested-failure", "stock: no-workers", "stock: no-workers"),
        ("too-late", "two\nlines", None),
        ("too-late", "x" * 300, None),
        ("too-late", {"a": 1}, None),
        ("handler-crashed", "KeyError: 'SECRET'", None),
        ("unreadable-request", "SECRET", None),
    ],
)
def test_only_harmless_details_are_passed_on(kind: str, detail: Any, expected: str | None):
    failure = failed(reader().problem, json.dumps({"type": f"urn:busgate:{kind}", "detail": detail}).encode())

    assert failure.detail == expected
    assert failure.document().get("detail") == expected


def test_a_crash_says_nothing_of_itself():
    document = {"type": HANDLER_CRASHED.type, "title": "SECRET", "trace": "SECRET", "detail": "SECRET"}

    failure = failed(reader().problem, json.dumps(document).encode())

    assert "SECRET" not in f"{failure} {failure.document()}"


@settings(deadline=None)
@given(st.binary(max_size=50) | st.text(max_size=50).map(str.encode))
def test_any_bytes_are_a_reply_or_a_failure(body: bytes):
    for read in (reader().reply, reader().problem):
        with pytest.raises(CallFailed):
            read(body)
