"""The catalog: every contract that a process serves, loaded by module name and checked against each other."""

import importlib
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from .call import Call, ContractError
from .fields import check_fields

AnyCall = Call[Any, Any]


class Catalog:
    """An ordered, checked set of contracts.

    Raises:
        ContractError: two contracts share a topic or a route, or one has fields that cannot travel.
    """

    def __init__(self, calls: Iterable[AnyCall]) -> None:
        self._by_topic: dict[str, AnyCall] = {}
        by_shape: dict[tuple[str, ...], AnyCall] = {}
        for call in calls:
            other = self._by_topic.setdefault(call.topic, call)
            if other is not call:
                raise ContractError(f"two contracts have the topic {call.topic}")
            rival = by_shape.setdefault(call.http.shape, call)
            if rival is not call:
                raise ContractError(
                    f"{rival.topic} and {call.topic} both answer {call.http.method} {call.http.path}"
                    + (f" (as {rival.http.path})" if rival.http.path != call.http.path else "")
                )
            check_fields(call)

    @classmethod
    def load(cls, modules: Iterable[str]) -> "Catalog":
        """Import modules by name and take the contracts that are their attributes.

        Raises:
            ContractError: a module cannot be imported, or holds no contract.
        """
        return cls(dict.fromkeys(call for name in modules for call in contracts_in(name)))

    def __iter__(self) -> Iterator[AnyCall]:
        return iter(self._by_topic.values())

    def __len__(self) -> int:
        return len(self._by_topic)

    def __getitem__(self, topic: str) -> AnyCall:
        return self._by_topic[topic]

    def __contains__(self, topic: object) -> bool:
        return topic in self._by_topic


def contracts_in(name: str) -> list[AnyCall]:
    """Import a module by name; the contracts that are its attributes.

    Raises:
        ContractError: it cannot be imported, or holds no contract.
    """
    try:
        module = importlib.import_module(name)
    except Exception as error:
        raise ContractError(f"cannot import {name}: {type(error).__name__}: {error}") from error
    found = [value for value in vars(module).values() if isinstance(value, Call)]
    if not found:
        raise ContractError(f"module {name} holds no contract: assign a Call(...) at its top level")
    return found


class Nothing(BaseModel):
    """A request or a reply without fields: `reply=Nothing` goes with status 204."""
