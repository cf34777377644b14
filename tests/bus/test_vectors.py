"""The golden vectors of docs/wire.md: our encoder writes exactly these, and a plain client's encoding says the same."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pamqp.frame
import pytest
from pamqp import commands as amqp
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from busgate.bus import CallContext
from busgate.bus.call_fault import fault_of
from busgate.bus.frames import CallTemplate, ReplyTemplate, encode_ping
from busgate.bus.reply_fault import reply_fault
from busgate.bus.wire import CALLS_EXCHANGE, Message
from busgate.contracts.failure import WORKER_KINDS

ROOT = Path(__file__).parents[2]
VECTORS = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "tests/vectors").glob("*.json"))
}
WIRE = (ROOT / "docs/wire.md").read_text(encoding="utf-8")

every_vector = pytest.mark.parametrize("vector", [pytest.param(vector, id=name) for name, vector in VECTORS.items()])


def is_call(vector: dict[str, Any]) -> bool:
    return bool(vector["publish"]["exchange"] == CALLS_EXCHANGE)


def encoded(vector: dict[str, Any]) -> bytes:
    """The vector as our encoder writes it."""
    properties, headers = vector["properties"], vector["headers"]
    key = vector["publish"]["routing_key"].encode()
    if properties["type"] == "ping":
        return encode_ping(key, channel=vector["channel"], expiration_ms=int(properties["expiration"]))
    options = {"channel": vector["channel"], "frame_max": vector["frame_max"]}
    body = vector["body"].encode()
    if is_call(vector):
        context = CallContext(
            headers["call"].encode(),
            headers["traceparent"].encode(),
            headers.get("caller", "").encode(),
            headers["hops"],
            headers.get("jws", "").encode(),
            headers.get("via", "").encode(),
        )
        call = CallTemplate(key, reply_queue=properties["reply_to"].encode(), **options)
        return b"".join(
            call.encode(
                properties["correlation_id"].encode(), headers["deadline"], int(properties["expiration"]), context, body
            )
        )
    reply = ReplyTemplate(headers["service"].encode(), **options)
    kind, correlation_id = properties["type"].encode(), properties["correlation_id"].encode()
    return b"".join(reply.encode(key, correlation_id, kind, headers["received"], headers["ran"], body))


@every_vector
def test_our_encoder_writes_exactly_the_vector(vector: dict[str, Any]) -> None:
    assert encoded(vector).hex() == "".join(vector["frames"])


def as_delivered(vector: dict[str, Any], content: bytes) -> bytes:
    """How a broker hands out what was published: another method, the same content."""
    publish = vector["publish"]
    method = amqp.Basic.Deliver("tag", 7, False, publish["exchange"], publish["routing_key"])
    return pamqp.frame.marshal(method, vector["channel"]) + content


@every_vector
def test_our_decoder_reads_the_vector(read: Any, vector: dict[str, Any]) -> None:
    (message,) = read([as_delivered(vector, bytes.fromhex("".join(vector["frames"][1:])))]).messages

    assert_says(message, vector)


@every_vector
def test_the_encoding_of_a_plain_client_says_the_same(read: Any, vector: dict[str, Any]) -> None:
    """It chooses other sizes for numbers, and another order of headers."""
    properties = dict(vector["properties"])
    if "timestamp" in properties:
        properties["timestamp"] = datetime.fromtimestamp(properties["timestamp"], UTC)
    properties["message_type"] = properties.pop("type")
    if vector["headers"]:
        properties["headers"] = dict(reversed(vector["headers"].items()))
    body = vector["body"].encode()
    header = ContentHeader(0, len(body), amqp.Basic.Properties(**properties))
    parts: list[Any] = [header, ContentBody(body)] if body else [header]
    content = [pamqp.frame.marshal(part, vector["channel"]) for part in parts]

    (message,) = read([as_delivered(vector, b"".join(content))]).messages

    assert_says(message, vector)


def assert_says(message: Message, vector: dict[str, Any]) -> None:
    assert message.fault is None
    assert message.headers == vector["headers"]
    assert message.body == vector["body"].encode()
    for name, value in vector["properties"].items():
        if name not in ("delivery_mode", "timestamp"):
            assert getattr(message, name) == value.encode(), name
    if vector["properties"]["type"] != "ping":
        fault = fault_of(message) if is_call(vector) else reply_fault(message)
        assert fault is None


# -- the page


def test_the_page_shows_the_vectors_as_they_are() -> None:
    shown = re.findall(r"<!-- tests/vectors/([a-z-]+)\.json -->\n```json\n(.*?)```", WIRE, re.DOTALL)

    assert {name for name, _ in shown} == {"call", "call-signed", "reply", "problem-too-late"}
    for name, text in shown:
        assert json.loads(text) == VECTORS[name], name


def test_the_page_names_every_type_that_a_worker_may_use() -> None:
    named = set(re.findall(r"^\| `(urn:busgate:[a-z-]+)` \|", WIRE, re.MULTILINE))

    assert named == set(WORKER_KINDS)


def test_the_page_walks_through_the_bytes_of_the_call() -> None:
    """The rows of the worked example, put together, are the content header of call.json."""
    table = WIRE.partition("<!-- bytes of call.json -->")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([0-9a-f ]+)` \|", table, re.MULTILINE)

    assert "".join(rows).replace(" ", "") == VECTORS["call"]["frames"][1]
