"""As much of PromQL as it takes to know which metrics and labels an expression names."""

import re
from dataclasses import dataclass

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(r"\b(?:by|without)\s*\(([^()]*)\)")
_RANGE = re.compile(r"\[[^\[\]]*\]")
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{[^{}]*\})?(\s*\()?")
_MATCHER = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)")
_WORDS = frozenset(
    {"and", "bool", "by", "group_left", "group_right", "ignoring", "offset", "on", "or", "unless", "Inf"}
)


@dataclass(frozen=True, slots=True)
class Named:
    """What an expression names.

    Args:
        metrics: each with the labels that its selector matches on.
        grouping: labels that results are grouped by.
    """

    metrics: dict[str, frozenset[str]]
    grouping: frozenset[str]


def names_in(expression: str) -> Named:
    """What the expression names. AssertionError where brackets do not match."""
    text = _TEXT.sub('""', expression)
    assert '"' not in text.replace('""', ""), expression
    for opening, closing in ("()", "[]", "{}"):
        assert text.count(opening) == text.count(closing), expression
    grouping = frozenset(label.strip() for found in _GROUPING.findall(text) for label in found.split(","))
    text = _RANGE.sub("", _GROUPING.sub("", text))
    metrics: dict[str, frozenset[str]] = {}
    for name, matchers, call in _SELECTOR.findall(text):
        if not call and name not in _WORDS:
            metrics[name] = metrics.get(name, frozenset()) | frozenset(_MATCHER.findall(matchers))
    return Named(metrics, grouping)
