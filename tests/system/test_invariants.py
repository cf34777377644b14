"""The check of the invariants itself: it finds every kind of violation, so its silence means something."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.faults.contracts import read, write
from support.faults.history import CLOSED, Answer, History

PROBLEM = {"type": "urn:busgate:timeout", "status": 504, "outcome": "unknown", "instance": "urn:busgate:request:1"}
HEADERS = {"content-type": "application/problem+json", "x-request-id": "1"}


def answer(**changes: Any) -> Answer:
    told = {"nonce": "a", "caller": "ann", "pid": 1}
    good = {"nonce": "a", "topic": write.topic, "caller": "ann", "sent": 0.0, "took": 0.1, "status": 201}
    return Answer(**{**good, "body": told, "headers": {}, **changes})


def failed(**changes: Any) -> Answer:
    body = {**PROBLEM, **changes}
    return answer(status=body["status"], body=body, headers=HEADERS, text=json.dumps(body))


@pytest.fixture
def history(tmp_path: Path) -> History:
    """One request, executed once, in time."""
    history = History(tmp_path / "log")
    history.asked["a"] += 1
    execute(history)
    return history


def execute(history: History, **changes: Any) -> None:
    event = {"event": "start", "topic": write.topic, "nonce": "a", "call": "1", "pid": 1, "at": 1.0, "deadline": 2.0}
    with history.log.open("a") as file:
        file.write(json.dumps({**event, "redelivered": False, **changes}) + "\n")


@pytest.mark.parametrize("good", [answer(), failed()])
def test_what_is_well_is_not_reported(history: History, good: Answer) -> None:
    history.answers.append(good)

    assert history.violations() == []


@pytest.mark.parametrize(
    ("found", "bad"),
    [
        ("I1", answer(status=CLOSED)),
        ("I3", answer(body={"nonce": "b", "caller": "ann"})),
        ("I3", answer(body={"nonce": "a", "caller": "bob"})),
        ("I7", failed(type="urn:busgate:no-route", status=503, outcome="not_executed")),
        ("I9", failed(type="urn:busgate:unheard-of")),
        ("I9", failed(status=500)),
        ("I9", failed(outcome="executed")),
        ("I9", failed(instance="urn:busgate:request:2")),
        ("I9", failed(detail="Traceback (most recent call last)")),
        ("I9", answer(status=502, body={}, headers={"content-type": "text/plain"})),
        ("I12", answer(refused=422)),
        ("Retry-After", failed(type="urn:busgate:overloaded", status=503, outcome="not_executed")),
    ],
)
def test_an_answer_that_must_not_be_is_reported(history: History, found: str, bad: Answer) -> None:
    history.answers.append(bad)

    assert any(found in violation for violation in history.violations())


@pytest.mark.parametrize("times", [0, 2])
def test_a_request_that_is_not_answered_once_is_reported(history: History, times: int) -> None:
    history.answers += [answer()] * times

    assert any("I1" in violation for violation in history.violations())


def test_a_late_start_is_reported(history: History) -> None:
    history.answers.append(answer())
    execute(history, topic=read.topic, at=2.1)

    assert any("I4" in violation for violation in history.violations())


@pytest.mark.parametrize(("topic", "reported"), [(write.topic, True), (read.topic, False)])
def test_a_second_run_is_reported_where_the_contract_forbids_it(history: History, topic: str, reported: bool) -> None:
    history.log.unlink()
    history.answers.append(answer())
    execute(history, topic=topic)
    execute(history, topic=topic)

    assert any("executed 2 times" in violation for violation in history.violations()) is reported


def test_a_success_without_an_execution_is_reported(history: History) -> None:
    history.answers.append(answer())
    history.log.unlink()

    assert history.violations() != []
