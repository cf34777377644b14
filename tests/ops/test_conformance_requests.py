"""What a worker is tried with, when nobody says it and when somebody does."""

import json
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from busgate.contracts import Call, Example, http
from busgate.ops.conformance.requests import trial_requests
from busgate.ops.faults import CommandError


class Ask(BaseModel):
    what: str = Field(min_length=3)
    often: int = Field(2, ge=1)


class Said(BaseModel):
    text: str = ""


class Odd(BaseModel):
    code: str = Field(pattern=r"^Q{7}$")


plain = Call("test.ask.v1", http.post("/ask"), request=Ask, reply=Said)
shown = Call(
    "test.shown.v1",
    http.post("/shown"),
    request=Ask,
    reply=Said,
    examples=[Example("One", Ask(what="abc"), Said()), Example("Two", Ask(what="def", often=1), Said())],
)
odd = Call("test.odd.v1", http.post("/odd"), request=Odd, reply=Said)


def test_the_examples_of_a_contract_are_its_requests() -> None:
    assert trial_requests([], shown) == [b'{"what":"abc"}', b'{"what":"def","often":1}']


def test_a_contract_without_examples_has_one_made_up() -> None:
    [body] = trial_requests([], plain)

    assert Ask.model_validate_json(body).often >= 1


def test_what_cannot_be_made_up_must_be_given() -> None:
    with pytest.raises(CommandError) as caught:
        trial_requests([], odd)

    assert caught.value.faults[-1] == "no request could be made from the contract of test.odd.v1; give one by --request"


def test_given_requests_are_taken_as_they_are_or_by_their_contract(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text('{ "what": "abc" }')

    assert trial_requests(['{ "a":1}', str(file)], None) == [b'{ "a":1}', b'{ "what": "abc" }']
    assert trial_requests([str(file)], plain) == [b'{"what":"abc"}']


@pytest.mark.parametrize(
    ("given", "fault"),
    [("[1]", "[1]: cannot be read"), ("{", "not JSON"), (json.dumps({"what": "a"}), "#/what: String should have")],
)
def test_a_request_that_cannot_be_used_is_refused(given: str, fault: str) -> None:
    with pytest.raises(CommandError) as caught:
        trial_requests([given], plain)

    assert fault in caught.value.faults[0]
