"""What a worker answered, read by its contract; tests/edge/test_reply.py has what leaves the house of it."""

import json

import pytest
from pydantic import BaseModel

from busgate.contracts import Call, CallFailed, Problem, http
from busgate.contracts.answer import AnswerReader
from busgate.contracts.failure import BAD_REPLY, NESTED_FAILURE, TOO_LATE


class Ask(BaseModel):
    what: str = ""


class Said(BaseModel):
    text: str


class Closed(Problem):
    """The desk is closed."""

    status = 409
    until: str


answers = AnswerReader(Call("test.ask.v1", http.post("/ask"), request=Ask, reply=Said, errors=[Closed]))


def test_a_reply_is_read_into_its_model_and_a_newer_worker_may_say_more() -> None:
    assert answers.reply(b'{"text":"a","tone":"low"}') == Said(text="a")


def test_a_reply_that_does_not_match_is_a_bad_reply_of_its_service() -> None:
    with pytest.raises(CallFailed, match=r"#/text \(missing\)") as caught:
        answers.reply(b"{}", service="desk")

    assert (caught.value.kind, caught.value.service) == (BAD_REPLY, "desk")


def test_a_declared_problem_is_read_through_its_class() -> None:
    document = Closed("later", until="noon").document() | {"secret": 1}

    problem = answers.problem(json.dumps(document).encode())

    assert isinstance(problem, Closed)
    assert "secret" not in problem.document()


def test_a_failure_that_the_worker_names_has_the_status_of_our_table() -> None:
    failure = answers.problem(b'{"type":"urn:busgate:too-late","status":200,"outcome":"executed"}', service="desk")

    assert isinstance(failure, CallFailed)
    assert (failure.kind, failure.service, failure.detail) == (TOO_LATE, "desk", None)


def test_a_nested_failure_names_the_service_behind() -> None:
    body = b'{"type":"urn:busgate:nested-failure","detail":"stock: no-route","service":"stock"}'

    failure = answers.problem(body, service="desk")

    assert isinstance(failure, CallFailed)
    assert (failure.kind, failure.service, failure.detail) == (NESTED_FAILURE, "stock", "stock: no-route")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"text"',
        b"{}",
        b'{"type":[]}',
        b'{"type":"urn:problem:other"}',
        b'{"type":"urn:busgate:no-route"}',
        b'{"type":"urn:problem:closed","until":5}',
    ],
)
def test_any_other_problem_is_a_bad_reply(body: bytes) -> None:
    failure = answers.problem(body, service="desk")

    assert isinstance(failure, CallFailed)
    assert (failure.kind, failure.service) == (BAD_REPLY, "desk")
