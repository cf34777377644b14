"""Our frames against pamqp's, in both directions."""

import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pamqp.frame
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pamqp import commands as amqp
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from busgate.bus import properties as layouts
from busgate.bus.frames import (
    FRAME_OVERHEAD,
    CallTemplate,
    FrameError,
    ReplyTemplate,
    decode_content_header,
    encode_ack,
    encode_ping,
)
from busgate.bus.properties import decode_table, short
from busgate.bus.wire import CallContext, Message

REPLY_QUEUE = b"busgate.reply.edge-1.1.abcdef012345"
TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FRAME_MAX = 4096

hex32 = st.text("0123456789abcdef", min_size=32, max_size=32).map(str.encode)
epoch_ms = st.integers(0, 4_000_000_000_000)  # pamqp takes seconds beyond 2096 for milliseconds
topics = st.from_regex(r"[a-z]{1,20}(\.[a-z]{1,20}){1,5}\.v[0-9]", fullmatch=True).map(str.encode)
callers = st.one_of(st.just(b""), st.text(max_size=1000).map(str.encode))
bodies = st.one_of(
    st.binary(max_size=100),
    st.integers(0, 3 * FRAME_MAX).map(lambda size: b"x" * size),
    st.sampled_from([n * (FRAME_MAX - FRAME_OVERHEAD) + d for n in (0, 1, 2) for d in (-1, 0, 1) if n or d >= 0]).map(
        bytes
    ),
)
signatures = st.one_of(st.just(b""), st.text("abcXYZ019-_.", min_size=1, max_size=900).map(str.encode))
services = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True).map(str.encode)
contexts = st.builds(
    CallContext,
    hex32,
    st.just(TRACEPARENT),
    callers,
    st.integers(0, 8),
    signatures,
    st.one_of(st.just(b""), services),
)


def texts_of(context: CallContext) -> dict[str, str]:
    """The headers of a call that may be missing: a signature goes with a caller, a service with a signature."""
    found = {}
    for name in ("caller", "jws", "via"):
        value: bytes = getattr(context, name)
        if not value:
            break
        found[name] = value.decode()
    return found


def pamqp_frames(data: bytes) -> list[tuple[int, Any]]:
    frames = []
    while data:
        used, channel, frame = pamqp.frame.unmarshal(data)
        assert frame is not None
        assert used <= FRAME_MAX
        frames.append((channel, frame))
        data = data[used:]
    return frames


def assembled(data: bytes, channel: int) -> tuple[Any, dict[str, Any], bytes]:
    """The method, the properties that are set, and the body of one published message."""
    frames = pamqp_frames(data)
    assert {number for number, _ in frames} == {channel}
    method, header, *chunks = (frame for _, frame in frames)
    body = b"".join(chunk.value for chunk in chunks)
    assert header.body_size == len(body)
    properties = {name: value for name, value in header.properties if value not in (None, "")}
    return method, properties, body


@given(topics, hex32, epoch_ms, st.integers(1, 600_000), contexts, bodies)
def test_a_call_that_we_encode_is_the_same_call_to_pamqp(
    topic: bytes, correlation_id: bytes, deadline: int, expiration: int, context: CallContext, body: bytes
) -> None:
    deadline += expiration
    template = CallTemplate(topic, channel=1, reply_queue=REPLY_QUEUE, frame_max=FRAME_MAX)

    data = b"".join(template.encode(correlation_id, deadline, expiration, context, body))

    method, properties, sent = assembled(data, 1)
    assert isinstance(method, amqp.Basic.Publish)
    assert (method.exchange, method.routing_key, method.mandatory) == ("busgate.calls", topic.decode(), True)
    headers = properties.pop("headers")
    assert headers == {
        "wire": 1,
        "call": context.call_id.decode(),
        "deadline": deadline,
        "hops": context.hops,
        "traceparent": TRACEPARENT.decode(),
    } | texts_of(context)
    assert properties.pop("timestamp").timestamp() == (deadline - expiration) // 1000
    assert properties == {
        "content_type": "application/json",
        "delivery_mode": 1,
        "correlation_id": correlation_id.decode(),
        "reply_to": REPLY_QUEUE.decode(),
        "expiration": str(expiration),
        "message_type": "call",
    }
    assert sent == body


@given(
    st.binary(min_size=16, max_size=64).map(lambda raw: raw.hex()[:64].encode()),
    st.sampled_from([b"reply", b"problem"]),
    epoch_ms,
    st.integers(0, 2**31 - 1),
    bodies,
)
def test_a_reply_that_we_encode_is_the_same_reply_to_pamqp(
    correlation_id: bytes, kind: bytes, received: int, ran: int, body: bytes
) -> None:
    template = ReplyTemplate(b"orders", channel=2, frame_max=FRAME_MAX)

    data = b"".join(template.encode(REPLY_QUEUE, correlation_id, kind, received, ran, body))

    method, properties, sent = assembled(data, 2)
    assert (method.exchange, method.routing_key, method.mandatory) == ("busgate.replies", REPLY_QUEUE.decode(), True)
    assert properties == {
        "content_type": "application/json",
        "headers": {"wire": 1, "service": "orders", "received": received, "ran": ran},
        "delivery_mode": 1,
        "correlation_id": correlation_id.decode(),
        "message_type": kind.decode(),
    }
    assert sent == body


def test_a_ping_is_a_small_message_to_our_own_reply_queue() -> None:
    method, properties, body = assembled(encode_ping(REPLY_QUEUE, channel=2, expiration_ms=3000), 2)

    assert (method.exchange, method.routing_key, method.mandatory) == ("busgate.replies", REPLY_QUEUE.decode(), False)
    assert properties == {"delivery_mode": 1, "expiration": "3000", "message_type": "ping"}
    assert body == b""


@given(st.integers(0, 2**16 - 1), st.integers(1, 2**63 - 1), st.booleans())
def test_acks_are_the_same_to_pamqp(channel: int, tag: int, multiple: bool) -> None:
    ((ack_channel, ack),) = pamqp_frames(encode_ack(channel, tag, multiple=multiple))

    assert (ack_channel, ack.delivery_tag, ack.multiple) == (channel, tag, multiple)


@pytest.mark.parametrize(
    "context",
    [
        CallContext(b"short", TRACEPARENT),
        CallContext(b"0" * 32, TRACEPARENT + b"-more"),
        CallContext(b"0" * 32, TRACEPARENT, b"x" * 4097),
        CallContext(b"0" * 32, TRACEPARENT, b"", 2**31),
        CallContext(b"0" * 32, TRACEPARENT, b"{}", 0, b"x" * 8193),
        CallContext(b"0" * 32, TRACEPARENT, b"{}", 0, b"x", b"y" * 65),
    ],
    ids=["call id", "traceparent", "caller", "hops", "jws", "via"],
)
def test_a_context_that_would_cost_us_the_connection_is_refused(context: CallContext) -> None:
    template = CallTemplate(b"a.b.v1", channel=1, reply_queue=REPLY_QUEUE, frame_max=FRAME_MAX)

    with pytest.raises((ValueError, struct.error)):
        template.encode(b"0" * 32, 2_000_000_000_000, 1000, context, b"{}")


# -- what others send

short_texts = st.text(max_size=40).filter(lambda text: len(text.encode()) <= 255)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, width=32),
    st.text(max_size=50),
    st.binary(max_size=20).map(bytearray),
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)).map(lambda when: when.replace(microsecond=0, tzinfo=UTC)),
    st.integers(-1000, 1000).map(lambda number: Decimal(number) / 100),
)
names = short_texts.filter(bool)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
tables = st.dictionaries(
    st.one_of(st.sampled_from(["wire", "call", "deadline", "CC", "traceparent", "x-death"]), names), values, max_size=6
)
foreign_properties = st.fixed_dictionaries(
    {},
    optional={
        "content_type": short_texts,
        "content_encoding": short_texts,
        "headers": tables,
        "delivery_mode": st.sampled_from([1, 2]),
        "priority": st.integers(0, 255),
        "correlation_id": short_texts,
        "reply_to": short_texts,
        "expiration": short_texts,
        "message_id": short_texts,
        "timestamp": st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)).map(
            lambda when: when.replace(tzinfo=UTC)
        ),
        "message_type": short_texts,
        "user_id": short_texts,
        "app_id": short_texts,
        "cluster_id": st.just(""),
    },
)


def delivered(properties: dict[str, Any], body: bytes, *, frame_max: int = FRAME_MAX) -> bytes:
    """The frames of a delivery as a broker sends them."""
    size = frame_max - FRAME_OVERHEAD
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    parts: list[Any] = [
        amqp.Basic.Deliver("tag", 7, True, "busgate.calls", "a.b.v1"),
        ContentHeader(0, len(body), amqp.Basic.Properties(**properties)),
        *map(ContentBody, chunks),
    ]
    return b"".join(pamqp.frame.marshal(part, 2) for part in parts)


@given(properties=foreign_properties, body=bodies)
@example(properties={"headers": {"CC": ["a", "b"]}}, body=b"")
@settings(max_examples=300)
def test_what_pamqp_encodes_is_the_same_message_to_us(read: Any, properties: dict[str, Any], body: bytes) -> None:
    data = delivered(properties, body)

    (message,) = read([data]).messages

    header: Any = pamqp.frame.unmarshal(data[pamqp.frame.unmarshal(data)[0] :])[2]
    seen: dict[str, Any] = dict(header.properties)
    assert message.fault is None
    assert (message.tag, message.redelivered, message.exchange, message.routing_key) == (
        7,
        True,
        b"busgate.calls",
        b"a.b.v1",
    )
    assert repr(message.headers) == repr(seen["headers"] or {})
    for name in ("content_type", "correlation_id", "reply_to", "expiration"):
        assert getattr(message, name) == (seen[name] or "").encode()
    assert message.type == (seen["message_type"] or "").encode()
    assert message.body == body


@given(st.data(), st.booleans(), contexts, st.binary(max_size=30).map(bytes.hex))
@settings(max_examples=300)
def test_our_own_layout_is_read_as_any_other(data: st.DataObject, call: bool, context: CallContext, text: str) -> None:
    """Whole or spoiled: the short way and the long way through the properties see the same, or both see a fault."""
    if call:
        content = layouts.encode_call(b"c" * 32, 2_000_000_000_000, 5000, context, short(REPLY_QUEUE))
    else:
        content = layouts.encode_reply(b"c" * 32, b"reply", 2_000_000_000_000, 7, text.encode())
    spoiled = bytearray(content)
    for _ in range(data.draw(st.integers(0, 3))):
        spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))

    def seen(decode: Any) -> Any:
        message = Message()
        try:
            end = decode(message, bytes(spoiled), 0)
        except (ValueError, IndexError, struct.error):
            return None
        return [getattr(message, name) for name in Message.__slots__] if end == len(spoiled) else None

    assert seen(layouts.decode) == seen(layouts._decode_any)


@given(st.binary(max_size=300))
@example(b"\xff\xff" + b"\x00" * 40)
@example(b"\x20\x00\xff\xff\xff\xff")
@example(b"\x20\x00" + struct.pack(">I", 2000) + b"\x01aA" + b"\x00\x00\x07\xf0A" * 400)
def test_properties_that_cannot_be_read_are_a_fault_and_no_more(properties: bytes) -> None:
    message = Message(1)
    payload = struct.pack(">HHQ", 60, 0, 5) + properties.ljust(2, b"\0")

    size = decode_content_header(message, payload, 0, len(payload))

    assert size == 5
    assert message.fault is None or "\n" not in message.fault


@given(st.binary(max_size=13))
def test_a_content_header_without_its_fixed_part_is_an_error(payload: bytes) -> None:
    with pytest.raises(FrameError):
        decode_content_header(Message(1), payload, 0, len(payload))


@given(foreign_properties, st.data())
def test_mutated_properties_never_read_beyond_their_frame(
    read: Any, properties: dict[str, Any], data: st.DataObject
) -> None:
    """Behind the bad message stands a good one, which is not harmed."""
    stream = delivered(properties, b"")
    method = pamqp.frame.unmarshal(stream)[0]
    spoiled = bytearray(stream)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(method + 7 + 12, len(spoiled) - 2))
        spoiled[at] = data.draw(st.integers(0, 255))

    recorder = read([bytes(spoiled) + delivered({"message_type": "call"}, b"good")])

    assert recorder.lost is None
    assert recorder.messages[-1].fault is None
    assert recorder.messages[-1].body == b"good"


@given(st.recursive(st.just({}), lambda inner: st.fixed_dictionaries({"a": inner}), max_leaves=1))
def test_an_empty_or_nested_table_ends_where_it_says(table: dict[str, Any]) -> None:
    from pamqp import encode

    data = encode.field_table(table)

    assert decode_table(data, 0) == (table, len(data))


def test_a_table_nested_beyond_reason_is_a_fault() -> None:
    """Each level costs five bytes; pamqp's reader is recursive."""
    table = b""
    for _ in range(3000):
        table = b"\x01aF" + struct.pack(">I", len(table)) + table
    payload = struct.pack(">HHQH", 60, 0, 0, 1 << 13) + struct.pack(">I", len(table)) + table
    message = Message(1)

    decode_content_header(message, payload, 0, len(payload))

    assert message.fault is not None
