"""What is written as YAML is read as the same value by an independent reader."""

from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import example, given
from hypothesis import strategies as st

from busgate.ops.yaml import dump

texts = st.text() | st.sampled_from(
    ["", "yes", "No", "~", "null", "1", "1e3", "0x1", ".5", "- a", "a: b", "a #b", "'", '"', "\n", " a", "a ", "\x85", "\u2028", "\ufeff", "\U0001f600"]
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)


@given(values)
@example([5e-324, -1e16, 1.5e300])
def test_every_value_of_json_survives(value: Any) -> None:
    assert yaml.safe_load(dump(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": {"b": [1, "two words", {"c": None, "d": []}]}}, "a:\n  b:\n    - 1\n    - two words\n    - c: null\n      d: []\n"),
        ({"200": {"type": "application/json"}}, '"200":\n  type: application/json\n'),
        ([], "[]\n"),
    ],
)  # fmt: skip
def test_it_is_written_for_people(value: Any, text: str) -> None:
    assert dump(value) == text
