"""A catalog of 10,000 contracts that nobody serves, to be loaded beside the echo."""

from bench.echo import Echo
from busgate.contracts import Call, http

COUNT = 10_000


class Item(Echo):
    id: str


globals().update(
    (
        f"call_{number}",
        Call(
            f"bench.routes.r{number}.v1",
            http.post(f"/shops/s{number % 100}/items/i{number}/{{id}}"),
            request=Item,
            reply=Echo,
            scopes={"echo"},
        ),
    )
    for number in range(COUNT)
)
