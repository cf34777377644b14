"""The examples of an operation, gathered from the places that OpenAPI spreads them over."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from busgate.contracts.sample import Json

NOTHING: Final = object()
"""No value, where null is one."""


@dataclass(slots=True)
class Pair:
    """A request and its answer; `status` is empty where the answer is not known.

    `parameters` are by place and name: `("path", "id")`.
    """

    title: str
    parameters: dict[tuple[str, str], Any] = field(default_factory=dict)
    body: Any = NOTHING
    status: str = ""
    answer: Any = NOTHING

    @property
    def asks(self) -> bool:
        """Whether there is a request."""
        return bool(self.parameters) or self.body is not NOTHING


def pairs_of(operation: Json) -> list[Pair]:
    """All examples of an operation, those with a request first."""
    pairs: dict[str, Pair] = {}

    def pair(key: str, example: Json) -> Pair:
        return pairs.setdefault(key, Pair(example["summary"]))

    for content in operation.get("requestBody", {}).get("content", {}).values():
        for key, example in content.get("examples", {}).items():
            pair(key, example).body = example["value"]
    for parameter in operation["parameters"]:
        for key, example in parameter.get("examples", {}).items():
            pair(key, example).parameters[parameter["in"], parameter["name"]] = example["value"]
    for status, response in operation["responses"].items():
        for content in response.get("content", {}).values():
            for key, example in content.get("examples", {}).items():
                found = pair(key, example)
                found.status, found.answer = status, example["value"]
    return sorted(pairs.values(), key=lambda one: not one.asks)


def texts_of(value: Any) -> list[str]:
    """A value as it stands in a query: once, or once for each of a list."""
    return [one if isinstance(one, str) else json.dumps(one) for one in (value if isinstance(value, list) else [value])]


def as_text(value: Any) -> str:
    """A value as it stands in a path, a header or a field of the form."""
    return ",".join(texts_of(value))
