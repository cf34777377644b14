"""The fingerprint of a contract: the same for the same, another for any change that the other side would feel."""

import subprocess
import sys
from typing import Any

import pytest
from pydantic import BaseModel

from busgate.contracts import Call, Problem, http
from busgate.contracts.fingerprint import DIGITS, fingerprint


class Request(BaseModel):
    a: int


class Wider(BaseModel):
    a: int
    b: str = ""


class Full(Problem):
    """There is no room."""

    status = 409


def contract(**changes: Any) -> Call[Any, Any]:
    values: dict[str, Any] = {
        "topic": "a.b.v1",
        "http": http.post("/a"),
        "request": Request,
        "reply": Request,
    } | changes
    return Call(values.pop("topic"), values.pop("http"), **values)


def test_the_same_contract_has_the_same_fingerprint() -> None:
    assert fingerprint(contract()) == fingerprint(contract(summary="Other words", scopes={"a"}))
    assert len(fingerprint(contract())) == DIGITS


@pytest.mark.parametrize(
    "change",
    [
        {"topic": "a.b.v2"},
        {"http": http.post("/b")},
        {"http": http.put("/a")},
        {"http": http.post("/a", status=201)},
        {"request": Wider},
        {"reply": Wider},
        {"errors": [Full]},
        {"timeout": 1.0},
        {"redelivery": "run"},
    ],
    ids=str,
)
def test_what_the_other_side_would_feel_changes_it(change: dict[str, Any]) -> None:
    assert fingerprint(contract(**change)) != fingerprint(contract())


def test_it_is_the_same_in_every_process() -> None:
    """Sets and dicts are in another order there."""
    code = f"import runpy; print(runpy.run_path({__file__!r})['printed']())"

    seen = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }

    assert seen == {f"{printed()}\n"}


def printed() -> str:
    return fingerprint(contract(errors=[Full], reply=Wider))


def test_whether_each_message_is_signed_is_agreed_and_who_may_call_on_is_not() -> None:
    assert fingerprint(contract()) != fingerprint(contract(bound=True))
    assert fingerprint(contract()) == fingerprint(contract(delegates={"a"}))
