"""From copies of messages to calls: each call comes out once, with its reply or without, whatever was seen."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busgate.bus import Message, Pairing, TappedCall
from busgate.bus import pairing as bounds
from busgate.bus.pairing import LATE, LONGEST, Heard

SENT = 1_800_000_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"


def call(number: int, *, deadline: int = SENT + 5000, **changes: Any) -> Message:
    message = Message(exchange=b"busgate.calls", routing_key=b"shop.orders.place.v1")
    message.type, message.correlation_id = b"call", b"%032x" % number
    message.reply_to, message.expiration = b"busgate.reply.web-1.3.0123456789ab.tapped", b"%d" % (deadline - SENT)
    message.headers = {"wire": 1, "call": f"{number:032x}", "deadline": deadline, "caller": '{"sub":"ann"}'}
    message.headers["traceparent"] = f"00-{TRACE}-b7ad6b7169203331-01"
    message.body = b'{"a":1}'
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def reply(number: int, *, kind: bytes = b"reply", body: bytes = b'{"b":2}', **headers: Any) -> Message:
    message = Message(exchange=b"busgate.replies", routing_key=b"busgate.reply.web-1.3.0123456789ab.tapped")
    message.type, message.correlation_id, message.body = kind, b"%032x" % number, body
    message.content_type = b"application/json"
    message.headers = {"wire": 1, "service": "orders", "received": SENT + 20, "ran": 7} | headers
    return message


class Seen:
    def __init__(self, heard: Heard = "yes") -> None:
        self.calls: list[TappedCall] = []
        self.pairing = Pairing(self.calls.append, lambda _: heard)


def test_a_call_comes_out_with_its_reply_and_times() -> None:
    seen = Seen()

    seen.pairing.see(call(1), 10.0)
    seen.pairing.see(reply(1), 10.03)

    (one,) = seen.calls
    assert (one.topic, one.call, one.source, one.caller) == ("shop.orders.place.v1", f"{1:032x}", "web-1", "ann")
    assert (one.result, one.service, one.status, one.problem) == ("reply", "orders", None, "")
    assert one.trace == TRACE
    assert (one.sent_ms, one.queue_ms, one.ran_ms, round(one.total_ms or 0)) == (SENT, 20, 7, 30)
    assert (one.request, one.reply) == (b'{"a":1}', b'{"b":2}')


def test_a_problem_comes_out_with_type_and_status() -> None:
    seen = Seen()
    body = json.dumps({"type": "urn:problem:out-of-stock", "status": 409}).encode()

    seen.pairing.see(call(1), 10.0)
    seen.pairing.see(reply(1, kind=b"problem", body=body), 10.0)

    assert (seen.calls[0].result, seen.calls[0].status, seen.calls[0].problem) == (
        "problem",
        409,
        "urn:problem:out-of-stock",
    )


@pytest.mark.parametrize(
    "spoil",
    [{"type": b"item"}, {"content_type": b"text/plain"}, {"headers": {"wire": 1}}, {"fault": "headers"}],
    ids=["type", "content type", "headers", "unreadable"],
)
def test_a_reply_that_who_called_cannot_believe_is_called_what_it_calls_it(spoil: dict[str, Any]) -> None:
    seen = Seen()
    bad = reply(1)
    for name, value in spoil.items():
        setattr(bad, name, value)

    seen.pairing.see(call(1), 10.0)
    seen.pairing.see(bad, 10.0)

    assert [(one.result, one.status, one.problem) for one in seen.calls] == [("problem", 502, "urn:busgate:bad-reply")]


def test_a_reply_that_who_called_does_not_take_comes_out_once_more() -> None:
    seen = Seen()
    refused = reply(1, kind=b"refused", body=b'{"type":"urn:busgate:bad-reply","status":502}')

    for message in (refused, call(1), reply(1), refused, refused):
        seen.pairing.see(message, 10.0)

    first, again = seen.calls
    assert (first.result, again.result, again.status, again.problem) == (
        "reply",
        "refused",
        502,
        "urn:busgate:bad-reply",
    )
    assert (again.call, again.topic, again.caller, again.service) == (first.call, first.topic, "ann", "orders")
    assert (again.request, again.reply) == (b"", b"")
    assert seen.pairing.unpaired == 0


def test_of_answered_calls_only_the_last_are_remembered() -> None:
    seen = Seen()

    for number in range(bounds.ANSWERED + 10):
        seen.pairing.see(call(number), 10.0)
        seen.pairing.see(reply(number), 10.0)

    assert len(seen.pairing._answered) == bounds.ANSWERED


def test_a_call_without_a_reply_comes_out_when_its_time_is_over_whatever_the_clock_of_its_sender_says() -> None:
    seen = Seen()
    seen.pairing.see(call(1), 10.0)

    seen.pairing.give_up(10.0 + 5 + LATE)
    assert seen.calls == []
    seen.pairing.give_up(10.0 + 5 + LATE + 0.1)

    assert [(one.result, one.total_ms) for one in seen.calls] == [("none", None)]
    seen.pairing.see(reply(1), 20.0)
    assert seen.pairing.unpaired == 1


def test_a_call_whose_reply_goes_elsewhere_is_not_said_to_be_unanswered() -> None:
    never, perhaps = Seen("no"), Seen("perhaps")

    for seen in (never, perhaps):
        seen.pairing.see(call(1), 10.0)
    at_once = [len(seen.calls) for seen in (never, perhaps)]
    perhaps.pairing.give_up(20.0)

    assert at_once == [1, 0]
    assert [seen.calls[0].result for seen in (never, perhaps)] == ["unseen", "unseen"]


def test_replies_to_what_was_received_before_the_tap_looked_are_not_missed() -> None:
    pairing = Pairing(lambda _: None, since=lambda: SENT + 20.0)

    for number, received in enumerate((SENT + 19, SENT + 20, None, "soon")):
        pairing.see(reply(number, received=received), 10.0)

    assert pairing.unpaired == 3


def test_a_reply_that_could_have_been_missed_and_was_not_is_paired() -> None:
    seen = Seen("perhaps")

    seen.pairing.see(call(1), 10.0)
    seen.pairing.see(reply(1), 10.0)

    assert [one.result for one in seen.calls] == ["reply"]


def test_the_oldest_calls_are_forgotten_when_too_many_bytes_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_BYTES", 10_000)
    seen = Seen()
    large = b"x" * 2000

    for number in range(3):
        seen.pairing.see(call(number, body=large), 10.0)
        seen.pairing.see(call(number, body=large), 10.0)  # again, which counts once
    for number in range(3):
        seen.pairing.see(reply(number), 10.0)
    seen.pairing.see(call(9, body=b"x" * 20_000), 10.0)

    assert [one.call for one in seen.calls] == [f"{number:032x}" for number in (1, 2)]
    assert (seen.pairing.dropped, seen.pairing.unpaired) == (2, 1)


def test_the_oldest_calls_are_forgotten_when_too_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_WAITING", 2)
    seen = Seen()

    for number in range(3):
        seen.pairing.see(call(number), 10.0)
    seen.pairing.give_up(20.0)

    assert [one.call for one in seen.calls] == [f"{number:032x}" for number in (1, 2)]
    assert seen.pairing.dropped == 1


def test_a_call_with_a_time_beyond_reason_is_forgotten() -> None:
    seen = Seen()
    for number, expiration in enumerate((b"999999999999999", b"", b"forever")):
        seen.pairing.see(call(number, expiration=expiration), 10.0)

    seen.pairing.give_up(10.0 + LONGEST)
    before = seen.pairing.dropped
    seen.pairing.give_up(10.0 + LONGEST + 0.1)

    assert (before, seen.pairing.dropped, seen.calls) == (0, 3, [])


def test_a_document_without_bodies_is_read_back() -> None:
    seen = Seen()
    seen.pairing.see(call(1), 10.0)
    seen.pairing.see(reply(1), 10.03)

    document = json.loads(json.dumps(seen.calls[0].document()))

    assert not {"request", "reply"} & document.keys()
    assert TappedCall.from_document(document).document() == seen.calls[0].document()


values = st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.binary(max_size=5)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"call", b"reply", b"problem", b"ping", b""]),
            st.integers(0, 3),
            st.dictionaries(
                st.sampled_from(["deadline", "received", "ran", "service", "call", "caller", "traceparent"]), values
            ),
            st.binary(max_size=20),
            st.binary(max_size=6),
        ),
        max_size=20,
    )
)
def test_each_call_comes_out_at_most_once_whatever_is_seen(copies: list[Any]) -> None:
    seen = Seen()

    for kind, number, headers, body, expiration in copies:
        message = Message(routing_key=b"\xfftopic")
        message.type, message.correlation_id, message.headers = kind, b"%d" % number, headers
        message.body, message.expiration, message.reply_to = body, expiration, body
        seen.pairing.see(message, 1.0)
    seen.pairing.give_up(float(2**80))

    calls = sum(kind == b"call" for kind, *_ in copies)
    assert len(seen.calls) <= calls
    assert all(json.dumps(one.document()) for one in seen.calls)
