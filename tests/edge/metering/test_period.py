"""Days and months turn at midnight, UTC."""

from datetime import UTC, datetime

import pytest

from busgate.edge.metering.period import Period


@pytest.mark.parametrize(
    ("per", "now", "label", "length", "lasts"),
    [
        ("day", "2026-11-24T00:00:00", "2026-11-24", 86400, 86400),
        ("day", "2026-11-24T23:59:59", "2026-11-24", 86400, 1),
        ("month", "2026-12-31T23:59:00", "2026-12", 31 * 86400, 60),
        ("month", "2028-02-01T00:00:00", "2028-02", 29 * 86400, 29 * 86400),
        ("month", "2027-02-28T00:00:00", "2027-02", 28 * 86400, 86400),
    ],
)
def test_what_is_left_of_a_period(per, now, label, length, lasts):
    period = Period(per, lambda: datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp())

    assert period.lasts() == lasts * 1_000_000
    assert (period.label, period.length) == (label, length)


def test_a_period_turns_and_turns_back_with_the_clock():
    now = [datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC).timestamp()]
    period = Period("month", lambda: now[0])
    labels = []
    for step in (0, 1, -1):
        now[0] += step
        period.lasts()
        labels.append(period.label)

    assert labels == ["2026-11", "2026-12", "2026-11"]
