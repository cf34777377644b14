"""Texts with `${...}` in them: values of a request that the configuration may name, and nothing else."""

import re
import time
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Generic, TypeVar

from busgate.contracts.catalog import AnyCall

from .exchange import Exchange

SourceT = TypeVar("SourceT")
Value = Callable[[SourceT], str | None]
"""Finds a value; None: there is none now."""

_PLACE = re.compile(r"\$\{([^{}]*)(\})?")


class Template(Generic[SourceT]):
    """A text with values to be filled in.

    Args:
        text: the template; `${name}` is a value.
        values: those that may be named.
        escape: makes a value harmless where it is put.

    Raises:
        TemplateError: the text names a value that is not there, or does not close a `${`.
    """

    __slots__ = ("_escape", "_parts", "constant")

    def __init__(
        self, text: str, values: Mapping[str, Value[SourceT]], *, escape: Callable[[str], str] = lambda value: value
    ) -> None:
        self._escape = escape
        self._parts: list[str | Value[SourceT]] = []
        end = 0
        for place in _PLACE.finditer(text):
            name = place[1]
            if place[2] is None or name not in values:
                known = ", ".join(sorted(values))
                why = f"${{{name}}} is no value here; known are {known}" if place[2] else "a ${ has no }"
                raise TemplateError(text.count("\n", 0, place.start()) + 1, why)
            self._parts += [text[end : place.start()], values[name]]
            end = place.end()
        self._parts.append(text[end:])
        self.constant: str | None = text if end == 0 else None
        """The text, where no value is in it."""

    def render(self, source: SourceT) -> str | None:
        """The text with its values; None where one of them is not there."""
        parts = []
        for part in self._parts:
            if isinstance(part, str):
                parts.append(part)
            elif (value := part(source)) is None:
                return None
            else:
                parts.append(self._escape(value))
        return "".join(parts)


class TemplateError(ValueError):
    """A template that cannot be filled in. `line`: where, from 1."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def request_values(call: AnyCall | None) -> dict[str, Value[Exchange]]:
    """What may be named of a request for a contract; None: of one that no contract was found for."""
    values: dict[str, Value[Exchange]] = {
        "caller": lambda exchange: None if exchange.caller is None else exchange.caller.caller.subject,
        "caller.issuer": lambda exchange: None if exchange.caller is None else exchange.caller.caller.issuer or None,
        "caller.tenant": lambda exchange: None if exchange.caller is None else exchange.caller.caller.tenant or None,
        "client.address": lambda exchange: exchange.noted_address or None,
        "method": lambda exchange: exchange.request.message.method,
        "request.id": lambda exchange: exchange.request.id.decode(),
        "timestamp": lambda _: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "topic": lambda exchange: exchange.topic or None,
    }
    for number, name in enumerate(call.http.variables if call else ()):
        values[f"path.{name}"] = _variable(number)
    return values


def _variable(number: int) -> Value[Exchange]:
    get = itemgetter(number)
    return lambda exchange: get(exchange.variables)
