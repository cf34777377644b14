"""A tap as server-sent events, for the admin listener: the way into the embedded bus of a running demo.

On RabbitMQ a tap goes to the broker itself and sees the calls of all edges; here it sees those of this process.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from fnmatch import fnmatchcase

from busgate.bus import Pairing, TappedCall
from busgate.bus.embedded import EmbeddedBroker
from busgate.contracts import Catalog
from busgate.contracts.secret import reply_secret_paths, secret_paths, shown

Secrets = Mapping[str, tuple[Sequence[str], Sequence[str]]]
"""Where values are secret in request and reply, by topic."""

MOST = 8
"""Taps at a time."""
WAITING = 1000
"""Calls that may wait for a slow reader; more are left out, and the reader is told how many in all."""
LOOK_EVERY = 0.5
"""Seconds between two looks for calls that nobody answered; an idle stream says a word as often, to find who left."""


class TapStream:
    """Serves taps of one embedded bus.

    Args:
        broker: what is tapped.
        catalog: says which values are secret.
    """

    def __init__(self, broker: EmbeddedBroker, catalog: Catalog) -> None:
        self._broker = broker
        self._secrets: Secrets = {
            call.topic: (secret_paths(call.request), reply_secret_paths(call)) for call in catalog
        }
        self._open = 0

    @property
    def full(self) -> bool:
        return self._open >= MOST

    async def events(self, query: Mapping[str, str]) -> AsyncGenerator[str, None]:
        """First the topics that there are, then each call of those that `topics` names, until who reads closes it.

        `bodies=1` shows bodies too, masked; with `unknown=1` also those of topics that are not in the catalog.
        """
        self._open += 1
        try:
            unknown = () if query.get("unknown") == "1" else None
            bodies = _Bodies(self._secrets, unknown) if query.get("bodies") == "1" else None
            pieces = self._events(query.get("topics", "*"), bodies)
            async with aclosing(pieces):
                async for text in pieces:
                    yield text
        finally:
            self._open -= 1

    async def _events(self, pattern: str, bodies: "_Bodies | None") -> AsyncGenerator[str, None]:
        calls: asyncio.Queue[TappedCall] = asyncio.Queue(WAITING)
        left_out = 0

        def emit(call: TappedCall) -> None:
            nonlocal left_out
            if not fnmatchcase(call.topic, pattern):
                return
            if calls.full():
                left_out += 1
            else:
                calls.put_nowait(call)

        pairing = Pairing(emit)
        with self._broker.tapped(lambda message: pairing.see(message, time.monotonic())):
            yield _event(sorted(self._broker.queues), name="topics")
            told = 0
            while True:
                pairing.give_up(time.monotonic())
                text = [_event(_document(call, bodies)) for call in await _some(calls)]
                if left_out + pairing.dropped > told:
                    told = left_out + pairing.dropped
                    text.append(_event(told, name="dropped"))
                yield "".join(text or [": idle\n\n"])


class _Bodies:
    """Bodies as they may be shown."""

    def __init__(self, secrets: Secrets, unknown: Sequence[str] | None) -> None:
        self._secrets = secrets
        self._unknown = unknown

    def of(self, call: TappedCall) -> dict[str, object]:
        request, reply = self._secrets.get(call.topic, (self._unknown, self._unknown))
        return {"request": shown(call.request, request), "reply": shown(call.reply, reply)}


def _document(call: TappedCall, bodies: _Bodies | None) -> dict[str, object]:
    return call.document() | (bodies.of(call) if bodies else {})


def _event(value: object, *, name: str | None = None) -> str:
    return (f"event: {name}\n" if name else "") + f"data: {json.dumps(value)}\n\n"


async def _some(calls: "asyncio.Queue[TappedCall]") -> list[TappedCall]:
    """What is there; waits a moment for the first."""
    try:
        async with asyncio.timeout(LOOK_EVERY):
            found = [await calls.get()]
    except TimeoutError:
        return []
    while not calls.empty():
        found.append(calls.get_nowait())
    return found
