"""The vocabulary of failures."""

import re

import pytest

from busgate.contracts import CallFailed, FailureKind, failure
from busgate.contracts.failure import TIMEOUT, TOO_LATE, WORKER_KINDS

KINDS = [value for value in vars(failure).values() if isinstance(value, FailureKind)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_kind_is_a_stable_name_a_status_and_an_outcome(kind: FailureKind):
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.name)
    assert kind.type == f"urn:busgate:{kind.name}"
    assert 400 <= kind.status <= 599
    assert kind.outcome in ("not_executed", "unknown")
    assert kind.title


def test_kinds_have_names_of_their_own():
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_workers_are_found_by_type():
    assert all(WORKER_KINDS[kind.type] is kind for kind in WORKER_KINDS.values())
    assert TOO_LATE.type in WORKER_KINDS
    assert TIMEOUT.type not in WORKER_KINDS


def test_the_document_of_a_failure_says_only_what_is_known():
    assert CallFailed(TIMEOUT).document() == {
        "type": "urn:busgate:timeout",
        "title": "No reply in time",
        "status": 504,
        "outcome": "unknown",
        "by": "service",
    }
    told = CallFailed(TIMEOUT, "waited 5 s", service="orders").document()
    assert (told["detail"], told["service"]) == ("waited 5 s", "orders")
