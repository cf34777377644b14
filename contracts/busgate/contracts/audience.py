"""Whom a signature of a caller is made for: the contracts of one service, by the beginning of their topics."""

import re

_AUDIENCE = re.compile(r"[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*")


def audience_of(topic: str) -> str:
    """A topic without its last word and its version: `shop.orders` for `shop.orders.place.v1`.

    A topic of one word is an audience of its own: `echo` for `echo.v1`.
    """
    words = topic.split(".")
    return ".".join(words[:-2] or words[:1])


def is_audience(text: str) -> bool:
    """Whether a text can be the audience of some topic."""
    return len(text) <= 200 and _AUDIENCE.fullmatch(text) is not None
