"""AMQP 0-9-1 bytes of the frames that every call needs; pamqp does all others.

What is the same for every call of a topic is encoded once (`CallTemplate`, `ReplyTemplate`); per call only the
properties and the body are appended. Source: AMQP 0-9-1 sections 4.2.3, 4.2.4 and 4.2.6.
"""

import struct

from . import properties
from .properties import short
from .wire import CALLS_EXCHANGE, REPLIES_EXCHANGE, CallContext, Message

FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT = 1, 2, 3, 8
FRAME_END = 0xCE
FRAME_OVERHEAD = 8
"""Bytes around a payload: type, channel, size before it, the end mark behind it."""

FRAME_MIN = 4096
"""The smallest frame_max that a peer may ask for."""

BASIC_PUBLISH, BASIC_RETURN, BASIC_DELIVER, BASIC_ACK, BASIC_NACK = (
    60 << 16 | method for method in (40, 50, 60, 80, 120)
)

HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"

frame_head = struct.Struct(">BHI")
method_id = struct.Struct(">I")
_tag_and_bits = struct.Struct(">QB")
_u64 = struct.Struct(">Q")
_header_start = struct.Struct(">BHIHHQ")
_settle = struct.Struct(">BHIIQBB")


class FrameError(Exception):
    """Bytes that are not AMQP, or not what this side can take; the connection cannot go on."""


def _publish_frame(channel: int, exchange: bytes, routing_key: bytes, *, mandatory: bool) -> bytes:
    payload = (
        method_id.pack(BASIC_PUBLISH)
        + b"\x00\x00"
        + short(exchange)
        + short(routing_key)
        + (b"\x01" if mandatory else b"\x00")
    )
    return frame_head.pack(FRAME_METHOD, channel, len(payload)) + payload + b"\xce"


class CallTemplate:
    """The frames of a call to one topic from one reply queue, with the constant parts encoded."""

    __slots__ = ("_channel", "_frame_max", "_publish", "_reply_to")

    def __init__(self, topic: bytes, *, channel: int, reply_queue: bytes, frame_max: int) -> None:
        self._publish = _publish_frame(channel, CALLS_EXCHANGE.encode(), topic, mandatory=True)
        self._reply_to = short(reply_queue)
        self._channel = channel
        self._frame_max = frame_max

    def encode(
        self, correlation_id: bytes, deadline_ms: int, expiration_ms: int, context: CallContext, body: bytes
    ) -> list[bytes]:
        """The parts of the frames of one call, in order; `correlation_id` is 32 bytes.

        Raises:
            ValueError: the context has a value that would not fit, and would cost us the connection.
        """
        content = properties.encode_call(correlation_id, deadline_ms, expiration_ms, context, self._reply_to)
        return [self._publish, *_content_frames(self._channel, content, body, self._frame_max)]


class ReplyTemplate:
    """The frames of replies of one service on one channel."""

    __slots__ = ("_channel", "_frame_max", "_publish", "_service")

    def __init__(self, service: bytes, *, channel: int, frame_max: int) -> None:
        self._service = service
        self._channel = channel
        self._frame_max = frame_max
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
        content = properties.encode_reply(correlation_id, kind, received_ms, ran_ms, self._service)
        return [publish, *_content_frames(self._channel, content, body, self._frame_max)]


def encode_ping(reply_queue: bytes, *, channel: int, expiration_ms: int) -> bytes:
    """The frames of a ping to our own reply queue: no body."""
    content = properties.encode_ping(expiration_ms)
    publish = _publish_frame(channel, REPLIES_EXCHANGE.encode(), reply_queue, mandatory=False)
    return publish + b"".join(_content_frames(channel, content, b"", FRAME_MIN))


def _content_frames(channel: int, content: bytes, body: bytes, frame_max: int) -> list[bytes]:
    """The parts of a content header and of the body frames; `content` is the encoded properties."""
    size = len(body)
    head = _header_start.pack(FRAME_HEADER, channel, len(content) + 12, 60, 0, size)
    if 0 < size <= frame_max - FRAME_OVERHEAD:
        return [head, content, b"\xce", frame_head.pack(FRAME_BODY, channel, size), body, b"\xce"]
    parts = [head, content, b"\xce"]
    step = frame_max - FRAME_OVERHEAD
    for start in range(0, size, step):
        chunk = body[start : start + step]
        parts += (frame_head.pack(FRAME_BODY, channel, len(chunk)), chunk, b"\xce")
    return parts


def encode_ack(channel: int, tag: int, *, multiple: bool) -> bytes:
    return _settle.pack(FRAME_METHOD, channel, 13, BASIC_ACK, tag, multiple, FRAME_END)


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
        stop = properties.decode(message, data, start + 12)
        if stop != end:
            message.fault = "properties do not fill their frame"
    except (IndexError, struct.error, ValueError) as error:
        message.fault = f"properties cannot be read: {type(error).__name__}"
    return size
