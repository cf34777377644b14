"""Where a request stands with its limits, as its answer says it: draft-ietf-httpapi-ratelimit-headers."""

from busgate.edge.stores.rules import MICROSECONDS, Standing

Allowance = tuple[str, str]
"""The values of `RateLimit-Policy` and of `RateLimit`."""


def standing_item(head: str, standing: Standing) -> str:
    """The item of `RateLimit` that begins so."""
    left, wait, reset = standing
    return f"{head}{left};t={-(-(wait or reset) // MICROSECONDS)}"


def joined(earlier: Allowance | None, later: Allowance) -> Allowance:
    """What the limits say that were asked in two questions."""
    return later if earlier is None else (f"{earlier[0]}, {later[0]}", f"{earlier[1]}, {later[1]}")


def limit_fields(allowance: Allowance) -> bytes:
    """Both header fields, with the ends of their lines."""
    policies, standings = allowance
    return f"RateLimit-Policy: {policies}\r\nRateLimit: {standings}\r\n".encode()


def seconds(microseconds: int) -> int:
    """Whole seconds that are enough to wait."""
    return -(-microseconds // MICROSECONDS)
