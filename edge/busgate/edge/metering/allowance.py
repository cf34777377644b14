"""Where a request stands with its limits, as its answer says it: draft-ietf-httpapi-ratelimit-headers."""

from collections.abc import Sequence
from typing import Protocol

from busgate.edge.stores.rules import MICROSECONDS, Standing


class Named(Protocol):
    """A limit, as answers tell it.

    Attributes:
        item: that of `RateLimit-Policy`.
        head: how that of `RateLimit` begins.
    """

    @property
    def item(self) -> str: ...

    head: str


class Allowance:
    """What all limits of one request say, in the order in which they were asked.

    Args:
        policies: the limits of one question to the store.
        standings: how each stands.
        earlier: what those of an earlier question say.
    """

    __slots__ = ("_earlier", "_policies", "_standings")

    def __init__(
        self, policies: Sequence[Named], standings: Sequence[Standing], earlier: "Allowance | None" = None
    ) -> None:
        self._policies = policies
        self._standings = standings
        self._earlier = earlier

    def fields(self) -> bytes:
        """Both header fields, with the ends of their lines."""
        if len(self._policies) == 1 and self._earlier is None:  # as below, for the most frequent case at half the cost
            policy, (left, wait, reset) = self._policies[0], self._standings[0]
            return (
                f"RateLimit-Policy: {policy.item}\r\n"
                f"RateLimit: {policy.head}{left};t={-(-(wait or reset) // MICROSECONDS)}\r\n"
            ).encode()
        policies, standings = self.texts()
        return f"RateLimit-Policy: {policies}\r\nRateLimit: {standings}\r\n".encode()

    def texts(self) -> tuple[str, str]:
        """The values of both."""
        policies = ", ".join([policy.item for policy in self._policies])
        standings = ", ".join(
            [
                f"{policy.head}{left};t={-(-(wait or reset) // MICROSECONDS)}"
                for policy, (left, wait, reset) in zip(self._policies, self._standings, strict=True)
            ]
        )
        if self._earlier is None:
            return policies, standings
        first = self._earlier.texts()
        return f"{first[0]}, {policies}", f"{first[1]}, {standings}"


def seconds(microseconds: int) -> int:
    """Whole seconds that are enough to wait."""
    return -(-microseconds // MICROSECONDS)
