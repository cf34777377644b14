"""Whether the oldest call of a queue stays the same from look to look: RabbitMQ's word on it is seconds old."""

import math

SNAPSHOT = 5.5
"""Seconds after which what RabbitMQ tells of a queue is of another snapshot: it makes one every five."""


class Heads:
    """The oldest call of each queue, by when it was sent, and since when looks see just that one."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[int, float]] = {}

    def stays(self, queue: str, sent: int | None, now: float) -> bool:
        """Note a look, at `now` seconds of a clock; whether this call was the oldest a whole snapshot ago too."""
        if sent is None:
            self._since.pop(queue, None)
            return False
        before, since = self._since.get(queue, (None, math.inf))
        if before != sent:
            self._since[queue] = sent, now
            return False
        return now - since > SNAPSHOT
