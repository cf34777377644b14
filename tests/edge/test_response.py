import json

import pytest

from busgate.contracts import CallFailed, Problem
from busgate.contracts.failure import HANDLER_CRASHED, OVERLOADED
from busgate.edge.refusal import INVALID, METHOD_NOT_ALLOWED, Refusal
from busgate.edge.response import DateHeader, Response, header_block, problem_response

ID = b"0123456789abcdef0123456789abcdef"
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


def encode(response: Response, *, close: bool = False, with_body: bool = True) -> bytes:
    return response.encode(ID, DATE, close=close, with_body=with_body)


class OutOfStock(Problem):
    """Not enough in stock."""

    status = 409
    sku: str


def test_an_answer_is_one_block_of_constant_headers_and_its_body() -> None:
    response = Response(201, b'{"a":1}', headers=header_block([("Location", "/orders/7")]))

    assert encode(response) == (
        b"HTTP/1.1 201 Created\r\n"
        b"Content-Type: application/json\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"Cache-Control: no-store\r\n"
        b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        b"X-Request-Id: 0123456789abcdef0123456789abcdef\r\n"
        b"Content-Length: 7\r\n"
        b"Location: /orders/7\r\n"
        b"\r\n"
        b'{"a":1}'
    )


def test_a_last_answer_says_that_the_connection_closes() -> None:
    assert encode(Response(200, b"{}"), close=True).endswith(b"\r\nConnection: close\r\n\r\n{}")


def test_head_gets_the_length_of_the_body_but_not_the_body() -> None:
    answer = encode(Response(200, b'{"a":1}'), with_body=False)

    assert b"Content-Length: 7\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_has_no_length_and_no_type(status: int) -> None:
    answer = encode(Response(status, b"ignored"))

    assert b"Content-Length" not in answer
    assert b"Content-Type:" not in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_status_without_a_registered_phrase_can_be_answered() -> None:
    assert encode(Response(299)).startswith(b"HTTP/1.1 299 Other\r\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "a\r\nSet-Cookie: b"),
        ("X", "a\nb"),
        ("X", "a\0"),
        ("X", "€"),
        ("X Y", "a"),
        ("X:", "a"),
        ("", "a"),
    ],
)
def test_a_header_that_would_write_more_than_itself_is_an_error(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        header_block([(name, value)])


def test_the_date_is_formatted_once_a_second() -> None:
    date = DateHeader()

    assert date.now().endswith(b" GMT")


def test_a_refusal_becomes_a_problem_document() -> None:
    errors = [{"pointer": "#/sku", "detail": "missing"}]
    response = problem_response(Refusal(INVALID, "one field", errors=errors, close=True), ID)

    assert response.status == 422
    assert response.content_type == b"application/problem+json"
    assert response.close
    assert json.loads(response.body) == {
        "type": "urn:busgate:invalid-request",
        "title": "The request does not match the contract",
        "status": 422,
        "outcome": "not_executed",
        "by": "client",
        "detail": "one field",
        "errors": errors,
        "instance": f"urn:busgate:request:{ID.decode()}",
    }


def test_the_headers_of_a_refusal_are_sent() -> None:
    response = problem_response(Refusal(METHOD_NOT_ALLOWED, headers=[("Allow", "GET")]), ID)

    assert response.headers == b"Allow: GET\r\n"


@pytest.mark.parametrize(("seconds", "said"), [(0.0, b"1"), (0.2, b"1"), (1.0, b"1"), (1.1, b"2")])
def test_a_failed_call_says_when_to_try_again_in_whole_seconds(seconds: float, said: bytes) -> None:
    response = problem_response(CallFailed(OVERLOADED, retry_after=seconds), ID)

    assert response.headers == b"Retry-After: " + said + b"\r\n"


def test_the_service_that_failed_is_named_only_where_that_is_allowed() -> None:
    failure = CallFailed(HANDLER_CRASHED, service="orders")

    assert b"orders" not in problem_response(failure, ID).body
    assert json.loads(problem_response(failure, ID, show_service=True).body)["service"] == "orders"


def test_a_declared_problem_keeps_its_fields() -> None:
    document = json.loads(problem_response(OutOfStock("none left", sku="A-1"), ID).body)

    assert (document["status"], document["sku"], document["detail"]) == (409, "A-1", "none left")
    assert document["instance"].endswith(ID.decode())
