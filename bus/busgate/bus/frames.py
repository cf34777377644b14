"""AMQP 0-9-1 bytes of the frames that every call needs; pamqp does all others.

Encoding: what is the same for every call of a topic is encoded once (`CallTemplate`, `ReplyTemplate`); per call
only ids, times, headers and body are appended. Decoding: content properties and the field types that our
headers use; a table with other types goes to pamqp. Sources: AMQP 0-9-1 sections 4.2.3 to 4.2.6, and
RabbitMQ's errata for field types (`I` 32 bit, `l` 64 bit, signed).
"""

import struct
from typing import Any

import pamqp.decode

from busgate.contracts.caller import CALLER_LIMIT

from .wire import (
    CALL_ID_BYTES,
    CALLS_EXCHANGE,
    CONTENT_TYPE,
    REPLIES_EXCHANGE,
    TRACEPARENT_BYTES,
    TYPE_CALL,
    VERSION,
    CallContext,
    Message,
)

FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT = 1, 2, 3, 8
FRAME_END = 0xCE
FRAME_OVERHEAD = 8
"""Bytes around a payload: type, channel, size before it, the end mark behind it."""

BASIC_PUBLISH, BASIC_RETURN, BASIC_DELIVER, BASIC_ACK, BASIC_NACK = (
    60 << 16 | method for method in (40, 50, 60, 80, 120)
)

HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"

frame_head = struct.Struct(">BHI")
method_id = struct.Struct(">I")
_tag_and_bits = struct.Struct(">QB")
_u16, _u32, _u64, _i32, _i64 = (struct.Struct(">" + code) for code in "HIQiq")
_header_start = struct.Struct(">BHIHHQH")
_settle = struct.Struct(">BHIIQBB")

# Property flags, AMQP 0-9-1 section 4.2.6.1, in the order of the basic class.
_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE = 1 << 15, 1 << 13, 1 << 12
_CORRELATION_ID, _REPLY_TO, _EXPIRATION = 1 << 10, 1 << 9, 1 << 8
_MESSAGE_ID, _TIMESTAMP, _TYPE, _APP_ID = 1 << 7, 1 << 6, 1 << 5, 1 << 3

_CALL_FLAGS = (
    _CONTENT_TYPE | _HEADERS | _DELIVERY_MODE | _CORRELATION_ID | _REPLY_TO | _EXPIRATION
    | _MESSAGE_ID | _TIMESTAMP | _TYPE | _APP_ID
)  # fmt: skip
_REPLY_FLAGS = _CONTENT_TYPE | _HEADERS | _DELIVERY_MODE | _CORRELATION_ID | _EXPIRATION | _TYPE | _APP_ID
_PING_FLAGS = _DELIVERY_MODE | _EXPIRATION | _TYPE

_TRANSIENT = b"\x01"


class FrameError(Exception):
    """Bytes that are not AMQP, or not what this side can take; the connection cannot go on."""


def short(text: bytes) -> bytes:
    """A short string: one length byte, at most 255 bytes.

    Raises:
        ValueError: the text is longer.
    """
    if len(text) > 255:
        raise ValueError(f"{len(text)} bytes do not fit a short string")
    return bytes((len(text),)) + text


def _field(name: bytes, value: bytes | int, kind: bytes = b"") -> bytes:
    if isinstance(value, int):
        return short(name) + (b"I" + _i32.pack(value) if kind == b"I" else b"l" + _i64.pack(value))
    return short(name) + b"S" + _u32.pack(len(value)) + value


def _publish_frame(channel: int, exchange: bytes, routing_key: bytes, *, mandatory: bool) -> bytes:
    payload = (
        method_id.pack(BASIC_PUBLISH)
        + b"\x00\x00"
        + short(exchange)
        + short(routing_key)
        + (b"\x01" if mandatory else b"\x00")
    )
    return frame_head.pack(FRAME_METHOD, channel, len(payload)) + payload + b"\xce"


def _body_frames(channel: int, body: bytes, frame_max: int) -> list[bytes]:
    size = frame_max - FRAME_OVERHEAD
    parts: list[bytes] = []
    for start in range(0, len(body), size):
        chunk = body[start : start + size]
        parts += (frame_head.pack(FRAME_BODY, channel, len(chunk)), chunk, b"\xce")
    return parts


CONTENT_TYPE_SHORT = short(CONTENT_TYPE)


class CallTemplate:
    """The frames of a call to one topic from one reply queue, with the constant parts encoded."""

    __slots__ = ("_app", "_channel", "_frame_max", "_head", "_reply_to")

    _WIRE = _field(b"wire", VERSION, b"I") + b"\x04callS" + _u32.pack(CALL_ID_BYTES)
    _DEADLINE = b"\x08deadlinel"
    _HOPS = b"\x04hopsI"
    _TRACEPARENT = b"\x0btraceparentS" + _u32.pack(TRACEPARENT_BYTES)
    _CALLER = b"\x06callerS"
    _FIXED_TABLE = len(_WIRE) + 32 + len(_DEADLINE) + 8 + len(_HOPS) + 4 + len(_TRACEPARENT) + 55

    def __init__(
        self, topic: bytes, *, channel: int, reply_queue: bytes, app_id: bytes, frame_max: int
    ) -> None:
        self._head = _publish_frame(channel, CALLS_EXCHANGE.encode(), topic, mandatory=True)
        self._reply_to = short(reply_queue)
        self._channel = channel
        self._frame_max = frame_max
        self._app = short(TYPE_CALL) + short(app_id)

    def encode(
        self, correlation_id: bytes, deadline_ms: int, expiration_ms: int, context: CallContext, body: bytes
    ) -> list[bytes]:
        """The parts of the frames of one call, in order; `correlation_id` is 32 bytes.

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
        table = self._FIXED_TABLE
        if caller:
            table += len(self._CALLER) + 4 + len(caller)
        expiration = b"%d" % expiration_ms
        payload = b"".join(
            (
                CONTENT_TYPE_SHORT, _u32.pack(table), self._WIRE, context.call_id,
                self._DEADLINE, _i64.pack(deadline_ms), self._HOPS, _i32.pack(context.hops),
                self._TRACEPARENT, context.traceparent,
                self._CALLER + _u32.pack(len(caller)) + caller if caller else b"",
                b"\x01\x20", correlation_id, self._reply_to, bytes((len(expiration),)), expiration,
                b"\x20", correlation_id, _u64.pack((deadline_ms - expiration_ms) // 1000), self._app,
            )
        )  # fmt: skip
        size = len(body)
        head = _header_start.pack(FRAME_HEADER, self._channel, len(payload) + 14, 60, 0, size, _CALL_FLAGS)
        if 0 < size <= self._frame_max - FRAME_OVERHEAD:
            return [
                self._head,
                head,
                payload,
                b"\xce",
                frame_head.pack(FRAME_BODY, self._channel, size),
                body,
                b"\xce",
            ]
        return [self._head, head, payload, b"\xce", *_body_frames(self._channel, body, self._frame_max)]


class ReplyTemplate:
    """The frames of replies of one service on one channel."""

    __slots__ = ("_app", "_channel", "_frame_max", "_publish", "_service")

    _WIRE = _field(b"wire", VERSION, b"I")
    _EXPIRATION = short(b"60000")

    def __init__(self, service: bytes, *, channel: int, app_id: bytes, frame_max: int) -> None:
        self._channel = channel
        self._frame_max = frame_max
        self._service = self._WIRE + _field(b"service", service) + b"\x08receivedl"
        self._app = short(app_id)
        self._publish: dict[bytes, bytes] = {}

    def encode(
        self, reply_to: bytes, correlation_id: bytes, kind: bytes, received_ms: int, ran_ms: int, body: bytes
    ) -> list[bytes]:
        """The parts of the frames of one reply, in order."""
        publish = self._publish.get(reply_to)
        if publish is None:
            if len(self._publish) > 1024:  # reply queues come and go with the generations of edges
                self._publish.clear()
            publish = _publish_frame(self._channel, REPLIES_EXCHANGE.encode(), reply_to, mandatory=True)
            self._publish[reply_to] = publish
        headers = b"%b%b\x03ranI%b" % (self._service, _i64.pack(received_ms), _i32.pack(ran_ms))
        payload = b"".join(
            (
                CONTENT_TYPE_SHORT, _u32.pack(len(headers)), headers, _TRANSIENT,
                bytes((len(correlation_id),)), correlation_id, self._EXPIRATION, bytes((len(kind),)), kind, self._app,
            )
        )  # fmt: skip
        size = len(body)
        head = _header_start.pack(FRAME_HEADER, self._channel, len(payload) + 14, 60, 0, size, _REPLY_FLAGS)
        return [publish, head, payload, b"\xce", *_body_frames(self._channel, body, self._frame_max)]


def encode_ping(reply_queue: bytes, *, channel: int, expiration_ms: int) -> bytes:
    """The frames of a ping to our own reply queue: no body."""
    payload = _TRANSIENT + short(b"%d" % expiration_ms) + short(b"ping")
    head = _header_start.pack(FRAME_HEADER, channel, len(payload) + 14, 60, 0, 0, _PING_FLAGS)
    return (
        _publish_frame(channel, REPLIES_EXCHANGE.encode(), reply_queue, mandatory=False)
        + head
        + payload
        + b"\xce"
    )


def encode_ack(channel: int, tag: int, *, multiple: bool) -> bytes:
    return _settle.pack(FRAME_METHOD, channel, 13, BASIC_ACK, tag, multiple, FRAME_END)


def encode_requeue(channel: int, tag: int) -> bytes:
    """basic.nack with requeue, for this delivery only."""
    return _settle.pack(FRAME_METHOD, channel, 13, BASIC_NACK, tag, 2, FRAME_END)


def decode_deliver(data: bytes, start: int, end: int) -> Message:
    """A basic.deliver method; `start` is behind the method id. The content is to come."""
    try:
        at = start + 1 + data[start]
        tag, redelivered = _tag_and_bits.unpack_from(data, at)
        at += 9
        exchange_end = at + 1 + data[at]
        key_end = exchange_end + 1 + data[exchange_end]
    except (IndexError, struct.error):
        raise FrameError("a basic.deliver that is cut short") from None
    if key_end != end:
        raise FrameError("a basic.deliver of the wrong length")
    return Message(
        tag,
        redelivered=redelivered == 1,
        exchange=data[at + 1 : exchange_end],
        routing_key=data[exchange_end + 1 : key_end],
    )


def decode_return(data: bytes, start: int, end: int) -> Message:
    """A basic.return method; `start` is behind the method id. The content, which is ours, is to come."""
    try:
        at = start + 2
        at += 1 + data[at]
        exchange_end = at + 1 + data[at]
        key_end = exchange_end + 1 + data[exchange_end]
    except IndexError:
        raise FrameError("a basic.return that is cut short") from None
    if key_end != end:
        raise FrameError("a basic.return of the wrong length")
    return Message(exchange=data[at + 1 : exchange_end], routing_key=data[exchange_end + 1 : key_end])


def decode_settlement(data: bytes, start: int, end: int) -> tuple[int, int]:
    """The delivery tag and the bits (1: multiple) of a basic.ack or basic.nack; `start` is behind the method id."""
    if end - start != 9:
        raise FrameError("a basic.ack of the wrong length")
    tag, bits = _tag_and_bits.unpack_from(data, start)
    return tag, bits


def decode_content_header(message: Message, data: bytes, start: int, end: int) -> int:
    """Read a content header's payload into the message; the answer is the size of the body.

    Properties that cannot be read set `message.fault`: the frame's length is known, so the stream goes on.

    Raises:
        FrameError: the fixed part is cut short.
    """
    if end - start < 14:
        raise FrameError("a content header that is cut short")
    size: int = _u64.unpack_from(data, start + 4)[0]
    try:
        stop = _decode_properties(message, data, start + 12)
        if stop != end:
            message.fault = "properties do not fill their frame"
    except (IndexError, struct.error, ValueError) as error:
        message.fault = f"properties cannot be read: {type(error).__name__}"
    return size


_SHORT_PROPERTIES = (
    (_CORRELATION_ID, "correlation_id"),
    (_REPLY_TO, "reply_to"),
    (_EXPIRATION, "expiration"),
    (_MESSAGE_ID, "message_id"),
)


def _decode_properties(message: Message, data: bytes, at: int) -> int:
    flags: int = _u16.unpack_from(data, at)[0]
    at += 2
    if flags & 1:
        raise ValueError("continued property flags")
    if flags & _CONTENT_TYPE:
        end = at + 1 + data[at]
        message.content_type = data[at + 1 : end]
        at = end
    if flags & 1 << 14:  # content-encoding: nobody sets it
        at += 1 + data[at]
    if flags & _HEADERS:
        message.headers, at = decode_table(data, at)
    if flags & _DELIVERY_MODE:
        at += 1
    if flags & 1 << 11:  # priority
        at += 1
    for flag, name in _SHORT_PROPERTIES:
        if flags & flag:
            end = at + 1 + data[at]
            setattr(message, name, data[at + 1 : end])
            at = end
    if flags & _TIMESTAMP:
        message.timestamp = _u64.unpack_from(data, at)[0]
        at += 8
    if flags & _TYPE:
        end = at + 1 + data[at]
        message.type = data[at + 1 : end]
        at = end
    if flags & 1 << 4:  # user-id
        at += 1 + data[at]
    if flags & _APP_ID:
        end = at + 1 + data[at]
        message.app_id = data[at + 1 : end]
        at = end
    if flags & 1 << 2:  # cluster-id
        at += 1 + data[at]
    return at


_NAMES = {
    name.encode(): name
    for name in ("wire", "call", "deadline", "traceparent", "caller", "hops", "service", "received", "ran")
}


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
        name_end = at + 1 + data[at]
        raw = data[at + 1 : name_end]
        name = _NAMES.get(raw) or raw.decode()
        kind = data[name_end]
        at = name_end + 1
        if kind == 0x53:  # S: long string
            value_end = at + 4 + _u32.unpack_from(data, at)[0]
            table[name] = data[at + 4 : value_end].decode()
            at = value_end
        elif kind == 0x49:  # I: 32 bit signed
            table[name] = _i32.unpack_from(data, at)[0]
            at += 4
        elif kind == 0x6C:  # l: 64 bit signed
            table[name] = _i64.unpack_from(data, at)[0]
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
