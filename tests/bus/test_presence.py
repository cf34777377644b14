"""Documents of the control bus: what is ours is read, all else is nothing, and nothing raises."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from busgate.bus.leases import MOST, Leases
from busgate.bus.presence import (
    LARGEST_BODY,
    Presence,
    ServedContract,
    SignOfLife,
    SilentProcess,
    TapLease,
    presence_key,
    read_lease,
    read_presence,
    read_sign_of_life,
    write_presence,
)


def presence(**changes: Any) -> Presence:
    values: dict[str, Any] = {
        "id": "web-1", "kind": "edge", "version": "1", "host": "h", "pid": 1, "started": 1, "now": 2, "expires": 15,
        "state": "serving",
    }  # fmt: skip
    return Presence(**(values | changes))


def test_a_presence_is_read_back() -> None:
    sent = presence(contracts=[ServedContract(topic="a.b.v1", hash="0123456789", request_secrets=["card"])], waiting=3)

    assert read_presence(presence_key("edge", "web-1"), sent.model_dump_json(exclude_defaults=True).encode()) == sent


def test_what_a_process_says_of_others_and_of_its_admin_listener_is_read_back() -> None:
    missing = SilentProcess(id="shop-1", kind="worker", host="h", pid=2, seconds=12, services=["orders"])
    sent = presence(
        admin="127.0.0.1:8081", silent=[missing], contracts=[ServedContract(topic="a.b.v1", hash="0", timeout=5)]
    )

    assert read_presence(presence_key("edge", "web-1"), sent.model_dump_json(exclude_defaults=True).encode()) == sent


@pytest.mark.parametrize("timeout", ["NaN", "Infinity", "-1", "1e9"])
def test_a_timeout_that_makes_no_sense_is_no_presence(timeout: str) -> None:
    text = presence(contracts=[ServedContract(topic="a.b.v1", hash="0", timeout=5.5)]).model_dump_json()

    assert read_presence(presence_key("edge", "web-1"), text.replace("5.5", timeout).encode()) is None


@pytest.mark.parametrize("key", ["presence.worker.web-1", "presence.edge.web-2", "presence.edge", "who", ""])
def test_a_presence_speaks_only_for_who_its_key_says(key: str) -> None:
    assert read_presence(key, presence().model_dump_json().encode()) is None


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"id": "web-1"}', b"x" * (LARGEST_BODY + 1),
        presence().model_dump_json().replace('"pid":1', '"pid":"1"').encode(),
        presence().model_dump_json().replace('"pid":1', '"pid":-1').encode(),
        presence().model_dump_json().replace('"now":2', '"now":1e400').encode(),
        presence().model_dump_json().replace("serving", "fine").encode(),
        presence().model_dump_json().replace('"host":"h"', f'"host":"{"h" * 500}"').encode(),
    ],
)  # fmt: skip
def test_garbage_is_no_presence(body: bytes) -> None:
    assert read_presence(presence_key("edge", "web-1"), body) is None
    assert read_lease(body) is None


@given(st.text(max_size=40), st.binary(max_size=200))
def test_whatever_arrives_nothing_is_raised(key: str, body: bytes) -> None:
    assert read_presence(key, body) is None
    assert read_lease(body) is None


def test_members_of_a_later_version_are_ignored() -> None:
    body = presence().model_dump_json().replace("{", '{"mood": "good", ', 1).encode()

    assert read_presence(presence_key("edge", "web-1"), body) == presence()


# -- presences that are too large, and the part of one that tells the time


ANY = st.text(max_size=200)
SECRETS = st.lists(ANY, max_size=3) | st.just(["\0" * 200] * 100)
CONTRACTS = st.builds(ServedContract, topic=ANY, hash=ANY, service=ANY, request_secrets=SECRETS, reply_secrets=SECRETS)


@given(
    contract=CONTRACTS,
    count=st.integers(0, 500),
    more=st.integers(0, 10_000),
    reasons=st.lists(st.text(max_size=500), max_size=20),
)
@example(contract=ServedContract(topic="\0" * 200, hash="\0" * 200), count=500, more=1, reasons=["\0" * 500] * 20)
@settings(max_examples=50, deadline=None)  # each writes up to half a megabyte
def test_a_presence_is_never_too_large_to_be_heard(
    contract: ServedContract, count: int, more: int, reasons: list[str]
) -> None:
    whole = presence(contracts=[contract] * count, more_contracts=more, reasons=reasons)

    body = write_presence(whole)
    heard = read_presence(presence_key("edge", "web-1"), body)

    assert len(body) <= LARGEST_BODY
    assert heard is not None
    assert (heard.id, heard.state, heard.reasons) == (whole.id, whole.state, whole.reasons)
    assert len(heard.contracts) + heard.more_contracts == count + more
    if not heard.shortened:
        assert heard == whole
    for said in heard.contracts:
        assert (said.topic, said.hash) == (contract.topic, contract.hash)
        assert bool(said.request_secrets) == bool(contract.request_secrets)
        assert bool(said.reply_secrets) == bool(contract.reply_secrets)


def test_a_shortened_presence_keeps_names_and_hashes_and_hides_more_rather_than_less() -> None:
    long = ["x" * 200] * 100
    contracts = [
        ServedContract(topic=f"a.n{n}.v1", hash="0123456789", service="orders", request_secrets=long, reply_secrets=[])
        for n in range(300)
    ]

    heard = read_presence(presence_key("edge", "web-1"), write_presence(presence(contracts=contracts)))

    assert heard is not None
    assert (heard.shortened, heard.more_contracts) == (True, 0)
    assert heard.contracts[299] == ServedContract(topic="a.n299.v1", hash="0123456789", request_secrets=["*"])


def test_for_the_time_only_a_part_of_a_presence_is_looked_at() -> None:
    body = presence().model_dump_json().replace('"contracts":[]', '"contracts":"none of yours"').encode()
    key = presence_key("edge", "web-1")

    sign = read_sign_of_life(key, body)

    assert sign == SignOfLife(id="web-1", kind="edge", now=2, state="serving")
    assert read_presence(key, body) is None
    assert read_sign_of_life("presence.edge.web-2", body) is None
    assert read_sign_of_life(key, body.replace(b'"now":2', b'"now":"2"')) is None


# -- leases


def lease(*topics: str, seconds: float = 5.0) -> TapLease:
    return TapLease(topics=list(topics), seconds=seconds)


def test_the_topics_of_all_leases_are_tapped_until_each_ends() -> None:
    leases = Leases(called={"a.v1", "b.v1", "c.v1"}.__contains__)
    leases.take("one", lease("a.v1", "b.v1", seconds=5), 100.0)
    leases.take("two", lease("b.v1", "c.v1", seconds=10), 100.0)

    assert leases.topics(104.9) == {b"a.v1", b"b.v1", b"c.v1"}
    assert leases.topics(105.0) == {b"b.v1", b"c.v1"}
    assert leases.topics(110.0) == frozenset()


def test_a_renewed_lease_replaces_the_one_before() -> None:
    leases = Leases(called={"a.v1", "b.v1"}.__contains__)
    leases.take("one", lease("a.v1"), 100.0)
    leases.take("one", lease("b.v1"), 104.0)

    assert leases.topics(108.0) == {b"b.v1"}


def test_leases_are_bounded_and_room_comes_back() -> None:
    leases = Leases(called={"a.v1", "b.v1"}.__contains__)
    taken = [leases.take(f"tap-{n}", lease("a.v1"), 100.0) for n in range(MOST + 1)]

    assert taken == [True] * MOST + [False]
    assert leases.take("tap-0", lease("b.v1"), 101.0)
    leases.topics(200.0)
    assert leases.take("another", lease("a.v1"), 200.0)


def test_topics_that_are_not_called_from_here_cost_nothing() -> None:
    called: set[str] = {"a.v1"}
    leases = Leases(called=called.__contains__)

    for number in range(10 * MOST):
        assert leases.take(f"forged-{number}", lease(*(f"forged.n{each}.v1" for each in range(5))), 100.0)

    assert leases.topics(100.0) == frozenset()
    assert leases.take("mine", lease("a.v1", "b.v1"), 100.0)
    assert leases.topics(100.0) == {b"a.v1"}


def test_a_topic_that_is_called_later_is_tapped_once_its_lease_is_renewed() -> None:
    called: set[str] = set()
    leases = Leases(called=called.__contains__)
    leases.take("one", lease("a.v1"), 100.0)
    called.add("a.v1")
    leases.take("one", lease("a.v1"), 102.0)

    assert leases.topics(102.0) == {b"a.v1"}


@pytest.mark.parametrize("seconds", [0, -1, 61, float("inf"), float("nan")])
def test_a_lease_is_bounded_in_time(seconds: float) -> None:
    assert read_lease(b'{"topics": ["a.v1"], "seconds": %s}' % str(seconds).encode()) is None
