"""What is sent to the worker: a call as the page says it, to be changed and encoded in more than one way."""

import struct
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from pamqp.commands import Basic

from busgate.bus.properties import encode_call, short
from busgate.bus.wire import CallContext, Ids

Values = dict[str, Any]

_u16, _u32, _i64 = struct.Struct(">H"), struct.Struct(">I"), struct.Struct(">q")
_WIDE_FLAGS = _u16.pack(1 << 15 | 1 << 13 | 1 << 12 | 1 << 10 | 1 << 9 | 1 << 8 | 1 << 5)


class Encoding(Enum):
    """Three ways to write the same call; a reader must not care."""

    EDGE = "as busgate's edges do: integers of 32 and 64 bits, no other property"
    SMALL = "integers of 8 bits, more properties than needed, headers in another order"
    WIDE = "integers of 64 bits"


@dataclass(frozen=True, slots=True)
class Letter:
    """One message to the worker. `mark` travels as message_id, by which it is known again in the queue."""

    mark: str
    body: bytes
    key: str
    properties: Values
    headers: Values
    encoding: Encoding = Encoding.SMALL

    def changed(self, *, properties: Values | None = None, headers: Values | None = None, **rest: Any) -> "Letter":
        """The same with other properties and headers; what is None is left out."""
        return replace(
            self,
            properties=_without_none(self.properties | (properties or {})),
            headers=_without_none(self.headers | (headers or {})),
            **rest,
        )

    def encoded(self) -> Basic.Properties:
        """The properties as they travel."""
        match self.encoding:
            case Encoding.EDGE:
                return _Raw(_as_an_edge(self))
            case Encoding.WIDE:
                return _Raw(_wide(self))
        headers = dict(reversed(self.headers.items()))
        more: Values = {"message_id": self.mark, "timestamp": datetime.now(tz=UTC), "priority": 0}
        return Basic.Properties(**self.properties, **more, headers=headers)


def good_call(body: bytes, *, topic: str, reply_to: str, caller: str | None, budget: float, ids: Ids) -> Letter:
    """A call as the page says it; nobody may start it later than in `budget` seconds."""
    correlation_id, call_id, span = (ids.take(digits).decode() for digits in (32, 32, 16))
    budget_ms = int(budget * 1000)
    headers = {
        "wire": 1,
        "call": call_id,
        "deadline": int(time.time() * 1000) + budget_ms,
        "traceparent": f"00-{call_id}-{span}-01",
        "hops": 0,
        "caller": caller,
    }
    properties = {
        "content_type": "application/json",
        "message_type": "call",
        "delivery_mode": 1,
        "correlation_id": correlation_id,
        "reply_to": reply_to,
        "expiration": str(budget_ms),
    }
    return Letter(correlation_id, body, topic, properties, _without_none(headers))


def _without_none(values: Values) -> Values:
    return {name: value for name, value in values.items() if value is not None}


class _Raw(Basic.Properties):
    """Properties that are bytes already."""

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self._raw = raw

    def marshal(self) -> bytes:
        return self._raw


def _as_an_edge(letter: Letter) -> bytes:
    headers, properties = letter.headers, letter.properties
    context = CallContext(
        headers["call"].encode(),
        headers["traceparent"].encode(),
        headers.get("caller", "").encode(),
        headers["hops"],
        headers.get("jws", "").encode(),
        headers.get("via", "").encode(),
    )
    reply_to = short(properties["reply_to"].encode())
    correlation_id = properties["correlation_id"].encode()
    return encode_call(correlation_id, headers["deadline"], int(properties["expiration"]), context, reply_to)


def _wide(letter: Letter) -> bytes:
    table = b"".join(short(name.encode()) + _wide_value(value) for name, value in letter.headers.items())
    words = [letter.properties[name] for name in ("correlation_id", "reply_to", "expiration", "message_type")]
    return b"".join(
        (
            _WIDE_FLAGS, short(letter.properties["content_type"].encode()), _u32.pack(len(table)), table, b"\x01",
            *(short(word.encode()) for word in words),
        )
    )  # fmt: skip


def _wide_value(value: str | int) -> bytes:
    if isinstance(value, int):
        return b"l" + _i64.pack(value)
    return b"S" + _u32.pack(len(value.encode())) + value.encode()
