"""What a tap shows: which calls, in which words, and nothing that somebody said is secret."""

from typing import Any

import pytest

from busgate.bus import Presence, TappedCall
from busgate.bus.presence import ServedContract
from busgate.ops import tapping
from busgate.ops.faults import CommandError
from busgate.ops.tapping import HEAD, Filter, Masks, as_text, nothing_like

TOPIC = "shop.orders.place.v1"
OUTER, INNER, TRACE = "1" * 32, "2" * 32, "a" * 32


def call(call_id: str = OUTER, *, trace: str = TRACE, **values: Any) -> TappedCall:
    given: dict[str, Any] = {
        "topic": TOPIC,
        "call": call_id,
        "sent_ms": 1_800_000_000_000,
        "source": "web-1",
        "caller": "ann",
        "trace": trace,
        "result": "reply",
        "request": b'{"sku":"A-1","card":"4711"}',
        "reply": b'{"id":1,"iban":"DE1"}',
    }
    return TappedCall(**given | values)


def presence(topic: str = TOPIC, *, request: list[str], reply: list[str] | None = None) -> Presence:
    contract = ServedContract(topic=topic, hash="1", request_secrets=request, reply_secrets=reply or [])
    return Presence(
        id="x", kind="worker", version="1", host="h", pid=1, started=0, now=0, expires=15, state="serving",
        contracts=[contract],
    )  # fmt: skip


# -- which calls


@pytest.mark.parametrize("wanted", [OUTER, OUTER[:8], TRACE, TRACE[:12]])
def test_a_call_is_found_by_its_id_or_its_trace_or_their_beginning(wanted: str) -> None:
    assert Filter(call=wanted).lets_through(call())


def test_the_calls_that_a_call_led_to_are_found_by_the_trace_that_they_share() -> None:
    of_one = Filter(call=TRACE)

    assert [of_one.lets_through(one) for one in (call(INNER), call(INNER, trace="b" * 32))] == [True, False]


@pytest.mark.parametrize("wanted", ["1234567", "x" * 32, "1" * 33, "", "A" * 32])
def test_what_is_no_id_is_refused(wanted: str) -> None:
    with pytest.raises(CommandError) as refused:
        Filter(call=wanted)

    assert "8 to 32 hex digits" in refused.value.faults[0]


def test_unanswered_calls_are_slow_and_those_whose_reply_goes_elsewhere_are_not() -> None:
    slow = Filter(slower_than=0.2)

    shown = [one.result for one in (call(result="none"), call(result="unseen")) if slow.lets_through(one)]
    assert shown == ["none"]


def test_status_tells_no_answer_from_one_that_was_not_seen() -> None:
    assert Filter(status="unseen").lets_through(call(result="unseen"))
    assert not Filter(status="none").lets_through(call(result="unseen"))


# -- in which words


def test_a_line_shows_call_and_trace_where_the_head_says() -> None:
    line = as_text(call(total_ms=12.34))

    assert line[HEAD.index("CALL") :].startswith(OUTER[:12])
    assert line[HEAD.index("TRACE") :].startswith(TRACE[:12])
    assert line.endswith("  ann")


def test_a_reply_that_was_not_seen_is_not_called_no_answer() -> None:
    assert ["reply not seen" in as_text(call(result=result)) for result in ("unseen", "none")] == [True, False]


def test_the_hint_names_no_more_topics_than_a_line_holds() -> None:
    hint = nothing_like("helo.*", [f"t{number:02}.v1" for number in range(22)] + ["\x1b[2J"])

    assert "'helo.*'" in hint
    assert "t18.v1 and 3 more" in hint
    assert "\x1b" not in hint
    assert nothing_like("x", []).startswith("no topic is like 'x' and has a worker; there are: none.")


# -- what is secret


def test_what_one_process_says_is_secret_stays_so_whatever_another_says() -> None:
    masks = Masks()
    for said in (presence(request=["card"]), presence(request=[]), presence(request=["sku"], reply=["iban"])):
        masks.learn(said)

    assert masks.bodies(call()) == ({"sku": "***", "card": "***"}, {"id": 1, "iban": "***"})


def test_of_a_topic_that_nobody_described_all_is_masked_unless_asked_for() -> None:
    masked, shown = Masks().bodies(call()), Masks(unknown=True).bodies(call())

    assert masked == ({"sku": "***", "card": "***"}, {"id": "***", "iban": "***"})
    assert shown == ({"sku": "A-1", "card": "4711"}, {"id": 1, "iban": "DE1"})
    assert Masks().bodies(call(request=b'"4711"', reply=b"")) == ("***", None)


def test_unknown_shows_nothing_that_somebody_said_is_secret() -> None:
    masks = Masks(unknown=True)
    masks.learn(presence(request=["card"]))

    assert masks.bodies(call())[0] == {"sku": "A-1", "card": "***"}


def test_a_flood_of_forged_topics_unmasks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapping, "MOST_TOPICS", 3)
    masks = Masks()
    for number in range(5):
        masks.learn(presence(f"forged.{number}.v1", request=[]))
    masks.learn(presence(request=["card"]))

    assert masks.bodies(call())[0] == {"sku": "***", "card": "***"}


def test_more_secrets_than_anybody_has_hide_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapping, "MOST_PATHS", 1)
    masks = Masks()
    for path in ("a", "b", "c"):
        masks.learn(presence(request=[path]))

    assert masks.bodies(call())[0] == {"sku": "***", "card": "***"}
