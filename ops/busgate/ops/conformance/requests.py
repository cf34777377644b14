"""The requests that a worker is tried with: those that are given, else those that its contract shows as examples."""

from collections.abc import Sequence
from pathlib import Path

from pydantic_core import from_json, to_json

from busgate.contracts.catalog import AnyCall
from busgate.contracts.sample import SCHEMAS
from busgate.contracts.shown import request_sample
from busgate.ops.asking import fitting, json_of
from busgate.ops.faults import CommandError


def trial_requests(given: Sequence[str], contract: AnyCall | None) -> list[bytes]:
    """Bodies of requests; each is a JSON object that fits the contract, if that is known.

    Raises:
        CommandError: one cannot be used, or there is none and none can be made.
    """
    if given:
        return [_checked(_read(each), contract) for each in given]
    if contract is not None:
        return _made_from(contract)
    raise CommandError(
        ["no request to try it with: give one by --request '{...}' or --request FILE, or --contracts MODULE"]
    )


def _checked(body: bytes, contract: AnyCall | None) -> bytes:
    if not isinstance(from_json(body), dict):
        raise CommandError(["--request: a request is a JSON object"])
    return fitting(contract, body) if contract else body


def _read(text: str) -> bytes:
    """JSON as it stands on the command line, or in a file of this name."""
    if text.lstrip().startswith("{"):
        return json_of(text.encode(), "--request")
    try:
        return json_of(Path(text).read_bytes(), text)
    except OSError as error:
        raise CommandError([f"--request: {text}: cannot be read: {error.strerror}"]) from None


def _made_from(contract: AnyCall) -> list[bytes]:
    """The requests of the contract's examples; where it has none, one made up from the schema of its model."""
    if contract.examples:
        return list(dict.fromkeys(to_json(example.request_json()) for example in contract.examples))
    schema = contract.request.model_json_schema(by_alias=True, ref_template=SCHEMAS + "{model}")
    body = to_json(request_sample(contract, schema, schema.get("$defs", {})))
    try:
        return [fitting(contract, body)]
    except CommandError as error:
        raise CommandError(
            [*error.faults, f"no request could be made from the contract of {contract.topic}; give one by --request"]
        ) from None
