import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scrape import Scrape

from busgate.bus.exposition import BUCKETS, Histogram, family, histograms, labels

TOPIC = "shop.orders.place.v1"


@given(st.lists(st.floats(0, 60_000), min_size=1, max_size=30))
def test_a_histogram_counts_each_duration_in_every_bucket_that_it_fits(durations: list[float]) -> None:
    histogram = Histogram()
    for millis in durations:
        histogram.observe(millis)

    scrape = Scrape("".join(histograms("request_duration_seconds", "Test.", {TOPIC: histogram})))
    for bound in (*BUCKETS, math.inf):
        le = "+Inf" if bound == math.inf else f"{bound:g}"
        expected = sum(millis <= bound * 1000 for millis in durations)
        assert scrape.value("request_duration_seconds_bucket", topic=TOPIC, le=le) == expected
    assert scrape.value("request_duration_seconds_count", topic=TOPIC) == len(durations)
    assert scrape.value("request_duration_seconds_sum", topic=TOPIC) == pytest.approx(sum(durations) / 1000)


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_a_label(topic: str, failure: str) -> None:
    lines = "".join(family("requests_total", "Test.", [(labels(topic=topic, failure=failure), 1)]))

    assert Scrape(lines).value("requests_total", topic=topic, failure=failure) == 1
