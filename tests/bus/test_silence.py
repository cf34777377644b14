"""Who falls silent on the control bus is remembered for a while; who says goodbye, or speaks again, is not."""

from typing import Any

from busgate.bus import Presence, SilentProcess
from busgate.bus.presence import MOST_SILENT, ServedContract
from busgate.bus.silence import FORGOTTEN_AFTER, SILENT_AFTER, Silence


def presence(name: str, **changes: Any) -> Presence:
    values: dict[str, Any] = {
        "id": name, "kind": "worker", "version": "1", "host": "here", "pid": 7, "started": 1, "now": 2, "expires": 15,
        "state": "serving", "contracts": [ServedContract(topic="a.b.v1", hash="1", service="echo")],
    }  # fmt: skip
    return Presence(**(values | changes))


def told(name: str, seconds: int) -> SilentProcess:
    return SilentProcess(id=name, kind="worker", host="there", pid=8, seconds=seconds)


def test_a_process_is_silent_once_its_next_presence_is_overdue() -> None:
    silence = Silence()
    silence.heard(presence("shop"), 100.0)

    assert silence.silent(100.0 + SILENT_AFTER - 0.1) == []
    assert silence.silent(112.0) == [
        SilentProcess(id="shop", kind="worker", host="here", pid=7, seconds=12, services=["echo"])
    ]


def test_who_speaks_again_is_not_silent() -> None:
    silence = Silence()
    silence.heard(presence("shop"), 100.0)
    silence.heard(presence("shop"), 130.0)

    assert silence.silent(131.0) == []


def test_who_says_goodbye_is_not_missed() -> None:
    silence = Silence()
    silence.heard(presence("shop"), 100.0)
    silence.heard(presence("shop", state="gone"), 101.0)

    assert silence.silent(130.0) == []


def test_the_silent_are_forgotten_after_a_while() -> None:
    silence = Silence()
    silence.heard(presence("shop"), 100.0)

    assert len(silence.silent(99.0 + FORGOTTEN_AFTER)) == 1
    assert silence.silent(100.0 + FORGOTTEN_AFTER) == []


def test_of_what_several_remember_the_latest_holds() -> None:
    silence = Silence()
    silence.told(told("shop", 60), 100.0)
    silence.told(told("shop", 20), 100.0)
    silence.told(told("shop", 40), 100.0)

    assert [each.seconds for each in silence.silent(110.0)] == [30]


def test_who_was_heard_since_is_not_silent_whatever_others_remember() -> None:
    silence = Silence()
    silence.heard(presence("shop"), 99.0)
    silence.told(told("shop", 60), 100.0)

    assert silence.silent(101.0) == []


def test_no_more_are_named_than_a_presence_may_hold_and_the_latest_of_them() -> None:
    silence = Silence()
    for number in range(MOST_SILENT + 20):
        silence.heard(presence(f"shop-{number}"), float(number))

    named = silence.silent(200.0)
    assert len(named) == MOST_SILENT
    assert named[0].id == f"shop-{MOST_SILENT + 19}"
    assert presence("other", silent=named).silent == named
