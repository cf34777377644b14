"""What `busgate call` asks: a request from the command line, held against its contract where that is known."""

import sys
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import from_json

from busgate.contracts import Caller, Catalog
from busgate.contracts.catalog import AnyCall
from busgate.contracts.codec import complete, pointer, writer

from .faults import CommandError

BUDGET = 5.0
"""Seconds to wait for the reply of a topic whose contract is not known."""
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Question:
    """One call, ready to be sent."""

    topic: str
    body: bytes
    contract: AnyCall | None
    timeout: float
    caller: Caller | None


def question(topic: str, body: bytes, catalog: Catalog, *, timeout: float | None, caller: Caller | None) -> Question:
    """Make a call of what was given. With contracts it is what the edge would send, without them it is sent as it is.

    Raises:
        CommandError: no contract has this topic, or the request does not fit it.
    """
    contract = find_contract(topic, catalog)
    if contract is not None:
        body = fitting(contract, body)
    return Question(topic, body, contract, timeout or (contract.timeout if contract else BUDGET), caller)


def find_contract(topic: str, catalog: Catalog) -> AnyCall | None:
    """The contract of a topic; None where no contracts are known at all.

    Raises:
        CommandError: there are some, and none has this topic.
    """
    if not len(catalog):
        return None
    if topic in catalog:
        return catalog[topic]
    topics = [call.topic for call in catalog]
    near = get_close_matches(topic, topics, n=1)
    advice = f"did you mean {near[0]}?" if near else f"there are: {', '.join(topics)}"
    raise CommandError([f"no contract has the topic {topic!r}; {advice}"])


def fitting(contract: AnyCall, body: bytes) -> bytes:
    """A request as the edge would send it: checked as strictly, and written anew.

    Raises:
        CommandError: it does not fit the contract; a line for each fault.
    """
    model = contract.request
    complete(model)
    try:
        request = model.__pydantic_validator__.validate_json(
            body, strict=True, extra="forbid", by_alias=True, by_name=False
        )
    except ValidationError as error:
        faults = error.errors(include_url=False)[:_SHOWN]
        raise CommandError(f"request: {pointer(each['loc'])}: {each['msg']}" for each in faults) from None
    return writer(model, exclude_unset=True)(request)


def read_request(text: str | None, file: Path | None) -> bytes:
    """The JSON of a request: the argument, a file, or what is piped in.

    Raises:
        CommandError: there is none, it cannot be read, or it is not JSON.
    """
    if text is not None and file is not None:
        raise CommandError(["give the request as an argument or by --file, not both"])
    if text is not None and text != "-":
        return json_of(text.encode(errors="surrogateescape"), "the request")
    if file is not None:
        try:
            return json_of(file.read_bytes(), str(file))
        except OSError as error:
            raise CommandError([f"{file}: cannot be read: {error.strerror}"]) from None
    if text is None and sys.stdin.isatty():
        raise CommandError(["no request: give JSON as an argument, by --file, or pipe it in ('{}' is the empty one)"])
    return json_of(sys.stdin.buffer.read(), "stdin")


def json_of(data: bytes, name: str) -> bytes:
    """The same bytes, which are JSON. Raises CommandError where they are not."""
    try:
        from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise CommandError([f"{name}: not JSON: {error}"]) from None
    return data


def read_caller(text: str | None) -> Caller | None:
    """Who calls: a name, or the JSON that the edge would send.

    Raises:
        CommandError: it is JSON, but no caller.
    """
    if text is None:
        return None
    try:
        return Caller.from_json(text) if text.lstrip().startswith("{") else Caller(text)
    except ValueError as error:
        raise CommandError([f"--caller: {error}"]) from None
