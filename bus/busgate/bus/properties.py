"""The properties of a message as AMQP 0-9-1 bytes: what stands in a content header behind class and body size.

Calls and replies of our own are read by their known layout; any other property list field by field, and a table
with field types that we do not use by pamqp. Which way was taken cannot be told from the result.
Sources: AMQP 0-9-1 sections 4.2.5 and 4.2.6; RabbitMQ's errata for field types (`I` 32 bit, `l` 64 bit, signed).
"""

import struct
from typing import Any

import pamqp.decode

from busgate.contracts.caller import CALLER_LIMIT

from .wire import (
    CALL_ID_BYTES,
    CONTENT_TYPE,
    JWS_LIMIT,
    TRACEPARENT_BYTES,
    TYPE_CALL,
    VERSION,
    VIA_LIMIT,
    CallContext,
    Message,
)

# Property flags, AMQP 0-9-1 section 4.2.6.1, in the order of the basic class.
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE = 1 << 15, 1 << 14, 1 << 13, 1 << 12
_PRIORITY, _CORRELATION_ID, _REPLY_TO, _EXPIRATION = 1 << 11, 1 << 10, 1 << 9, 1 << 8
_MESSAGE_ID, _TIMESTAMP, _TYPE, _USER_ID, _APP_ID, _CLUSTER_ID = (
    1 << 7,
    1 << 6,
    1 << 5,
    1 << 4,
    1 << 3,
    1 << 2,
)
_CONTINUED = 1

_u16, _u32, _u64, _i32, _i64 = (struct.Struct(">" + code) for code in "HIQiq")


def short(text: bytes) -> bytes:
    """A short string: one length byte, at most 255 bytes.

    Raises:
        ValueError: the text is longer.
    """
    if len(text) > 255:
        raise ValueError(f"{len(text)} bytes do not fit a short string")
    return bytes((len(text),)) + text


# The pieces of our own layouts that never change.
_JSON = short(CONTENT_TYPE)
_TRANSIENT = b"\x01"
_WIRE = b"\x04wireI" + _i32.pack(VERSION)
_CALL = _WIRE + b"\x04callS" + _u32.pack(CALL_ID_BYTES)
_DEADLINE = b"\x08deadlinel"
_HOPS = b"\x04hopsI"
_TRACEPARENT = b"\x0btraceparentS" + _u32.pack(TRACEPARENT_BYTES)
_CALLER = b"\x06callerS"
_JWS = b"\x03jwsS"
_VIA = b"\x03viaS"
_RECEIVED = _WIRE + b"\x08receivedl"
_RAN = b"\x03ranI"
_SERVICE = b"\x07serviceS"

_call_table = struct.Struct(
    f">{len(_CALL)}s{CALL_ID_BYTES}s{len(_DEADLINE)}sq{len(_HOPS)}si{len(_TRACEPARENT)}s{TRACEPARENT_BYTES}s"
)
_reply_table = struct.Struct(f">{len(_RECEIVED)}sq{len(_RAN)}si{len(_SERVICE)}sI")

_CALL_START = (
    _u16.pack(
        _CONTENT_TYPE | _HEADERS | _DELIVERY_MODE | _CORRELATION_ID | _REPLY_TO | _EXPIRATION
        | _TIMESTAMP | _TYPE
    ) + _JSON
)  # fmt: skip
_REPLY_START = _u16.pack(_CONTENT_TYPE | _HEADERS | _DELIVERY_MODE | _CORRELATION_ID | _TYPE) + _JSON
_PING_START = _u16.pack(_DELIVERY_MODE | _EXPIRATION | _TYPE)


def encode_call(
    correlation_id: bytes, deadline_ms: int, expiration_ms: int, context: CallContext, reply_to: bytes
) -> bytes:
    """The properties of a call; `correlation_id` is 32 bytes, `reply_to` is a short string already.

    Raises:
        ValueError: the context has a value that would not fit, and would cost us the connection.
    """
    caller = context.caller
    if (
        len(context.call_id) != CALL_ID_BYTES
        or len(context.traceparent) != TRACEPARENT_BYTES
        or len(caller) > CALLER_LIMIT
    ):
        raise ValueError("a call id, traceparent or caller of a wrong length")
    table = _call_table.pack(
        _CALL, context.call_id, _DEADLINE, deadline_ms, _HOPS, context.hops, _TRACEPARENT, context.traceparent
    )
    if caller:
        table += _CALLER + _u32.pack(len(caller)) + caller
        if context.jws:
            table += _signed(context)
    expiration = b"%d" % expiration_ms
    return b"".join(
        (
            _CALL_START, _u32.pack(len(table)), table, b"\x01\x20", correlation_id, reply_to,
            bytes((len(expiration),)), expiration, _u64.pack((deadline_ms - expiration_ms) // 1000), _TYPE_CALL,
        )
    )  # fmt: skip


_TYPE_CALL = short(TYPE_CALL)


def _signed(context: CallContext) -> bytes:
    jws, via = context.jws, context.via
    if len(jws) > JWS_LIMIT or len(via) > VIA_LIMIT:
        raise ValueError("a signed caller or the name of a service that is too long")
    signed = _JWS + _u32.pack(len(jws)) + jws
    return signed + _VIA + _u32.pack(len(via)) + via if via else signed


def encode_reply(correlation_id: bytes, kind: bytes, received_ms: int, ran_ms: int, service: bytes) -> bytes:
    """The properties of a reply."""
    table = _reply_table.pack(_RECEIVED, received_ms, _RAN, ran_ms, _SERVICE, len(service)) + service
    return b"".join(
        (
            _REPLY_START, _u32.pack(len(table)), table, _TRANSIENT, bytes((len(correlation_id),)), correlation_id,
            bytes((len(kind),)), kind,
        )
    )  # fmt: skip


def encode_ping(expiration_ms: int) -> bytes:
    """The properties of a ping."""
    return _PING_START + _TRANSIENT + short(b"%d" % expiration_ms) + short(b"ping")


def decode(message: Message, data: bytes, at: int) -> int:
    """Read properties into the message; the answer is where they end.

    Raises:
        ValueError, IndexError, struct.error: they are not well-formed.
    """
    if data.startswith(_REPLY_START, at):
        end = _decode_own_reply(message, data, at + len(_REPLY_START))
    elif data.startswith(_CALL_START, at):
        end = _decode_own_call(message, data, at + len(_CALL_START))
    else:
        end = 0
    return end or _decode_any(message, data, at)


def _decode_own_call(message: Message, data: bytes, at: int) -> int:
    """A call as `encode_call` lays it out; 0 where it is laid out otherwise."""
    table_end = at + 4 + _u32.unpack_from(data, at)[0]
    caller_at = at + 4 + _call_table.size
    call, call_id, deadline, deadline_ms, hops, depth, trace, traceparent = _call_table.unpack_from(data, at + 4)
    if call != _CALL or deadline != _DEADLINE or hops != _HOPS or trace != _TRACEPARENT:
        return 0
    headers: dict[str, Any] = {
        "wire": VERSION,
        "call": call_id.decode(),
        "deadline": deadline_ms,
        "hops": depth,
        "traceparent": traceparent.decode(),
    }
    if caller_at != table_end:
        text_at = caller_at + len(_CALLER) + 4
        if data[caller_at : text_at - 4] != _CALLER:
            return 0
        text_end = text_at + _u32.unpack_from(data, text_at - 4)[0]
        if text_end != table_end and not _decode_signed(headers, data, text_end, table_end):
            return 0
        headers["caller"] = data[text_at:text_end].decode()
    message.headers = headers
    message.content_type = CONTENT_TYPE
    at = table_end + 1
    end = at + 1 + data[at]
    message.correlation_id = data[at + 1 : end]
    at = end + 1 + data[end]
    message.reply_to = data[end + 1 : at]
    end = at + 1 + data[at]
    message.expiration = data[at + 1 : end]
    end += 8  # the timestamp is for the broker, which tells how old the head of a queue is
    at = end + 1 + data[end]
    message.type = data[end + 1 : at]
    return at


def _decode_signed(headers: dict[str, Any], data: bytes, at: int, table_end: int) -> bool:
    """What `_signed` lays out, up to the end of the table; False where it is anything else."""
    for name in (_JWS, _VIA):
        text_at = at + len(name) + 4
        if text_at > table_end or data[at : text_at - 4] != name:
            return False
        at = text_at + _u32.unpack_from(data, text_at - 4)[0]
        if at > table_end:
            return False
        headers[name[1:4].decode()] = data[text_at:at].decode()
        if at == table_end:
            return True
    return False


def _decode_own_reply(message: Message, data: bytes, at: int) -> int:
    """A reply as `encode_reply` lays it out; 0 where it is laid out otherwise."""
    table_end = at + 4 + _u32.unpack_from(data, at)[0]
    service_at = at + 4 + _reply_table.size
    received, received_ms, ran, ran_ms, service, length = _reply_table.unpack_from(data, at + 4)
    if received != _RECEIVED or ran != _RAN or service != _SERVICE or service_at + length != table_end:
        return 0
    message.headers = {
        "wire": VERSION,
        "received": received_ms,
        "ran": ran_ms,
        "service": data[service_at:table_end].decode(),
    }
    message.content_type = CONTENT_TYPE
    at = table_end + 1
    end = at + 1 + data[at]
    message.correlation_id = data[at + 1 : end]
    at = end + 1 + data[end]
    message.type = data[end + 1 : at]
    return at


_SHORT_PROPERTIES = (
    (_CORRELATION_ID, "correlation_id"),
    (_REPLY_TO, "reply_to"),
    (_EXPIRATION, "expiration"),
)


def _decode_any(message: Message, data: bytes, at: int) -> int:
    flags: int = _u16.unpack_from(data, at)[0]
    at += 2
    if flags & _CONTINUED:
        raise ValueError("continued property flags")
    if flags & _CONTENT_TYPE:
        message.content_type, at = _short_at(data, at)
    if flags & _CONTENT_ENCODING:
        at += 1 + data[at]
    if flags & _HEADERS:
        message.headers, at = decode_table(data, at)
    at += bool(flags & _DELIVERY_MODE) + bool(flags & _PRIORITY)
    for flag, name in _SHORT_PROPERTIES:
        if flags & flag:
            text, at = _short_at(data, at)
            setattr(message, name, text)
    if flags & _MESSAGE_ID:
        at += 1 + data[at]
    if flags & _TIMESTAMP:
        at += 8
    if flags & _TYPE:
        message.type, at = _short_at(data, at)
    for flag in (_USER_ID, _APP_ID, _CLUSTER_ID):
        if flags & flag:
            at += 1 + data[at]
    return at


def _short_at(data: bytes, at: int) -> tuple[bytes, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end], end


def decode_table(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    """A field table, and where it ends. Our own few types are read here, any other by pamqp.

    Raises:
        ValueError, IndexError, struct.error: the table is not well-formed.
    """
    start = at
    end = at + 4 + _u32.unpack_from(data, at)[0]
    if end > len(data):
        raise ValueError("a table longer than its frame")
    at += 4
    table: dict[str, Any] = {}
    while at < end:
        name, at = _short_at(data, at)
        kind = data[at : at + 1]
        at += 1
        if kind == b"S":
            value_end = at + 4 + _u32.unpack_from(data, at)[0]
            table[name.decode()] = data[at + 4 : value_end].decode()
            at = value_end
        elif kind == b"I":
            table[name.decode()] = _i32.unpack_from(data, at)[0]
            at += 4
        elif kind == b"l":
            table[name.decode()] = _i64.unpack_from(data, at)[0]
            at += 8
        else:
            return _foreign_table(data, start, end), end
    if at != end:
        raise ValueError("a table that does not fill its length")
    return table, end


def _foreign_table(data: bytes, start: int, end: int) -> dict[str, Any]:
    try:
        consumed, table = pamqp.decode.field_table(data[start:end])
    except Exception as error:  # pamqp raises whatever its parser stumbled over
        raise ValueError("a table that pamqp cannot read") from error
    if consumed != end - start:
        raise ValueError("a table that does not fill its length")
    return dict(table)
