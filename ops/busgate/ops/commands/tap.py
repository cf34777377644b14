"""`busgate tap PATTERN`: the calls of some topics as they happen, each with its reply, without touching them."""

import argparse
import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from fnmatch import fnmatchcase
from typing import Any

from busgate.bus import Pairing, Tap, TappedCall
from busgate.bus.wire import MAX_MESSAGE
from busgate.ops.faults import CommandError
from busgate.ops.loading import control_address, read_settings
from busgate.ops.screen import fit
from busgate.ops.settings import AdminAddress, TapProcess
from busgate.ops.survey import BLOCKED
from busgate.ops.tapping import HEAD, Filter, Masks, as_json, as_text, body_lines, nothing_like, seconds_of, some

PRINT_EVERY = 0.05
SILENCE = 10.0
"""Seconds without a word after which an edge counts as gone; it says one twice a second."""
LONGEST_EVENT = 8 * MAX_MESSAGE
"""Bytes: two bodies, and what JSON makes of them."""


def run(options: argparse.Namespace) -> int:
    settings = read_settings(TapProcess, options)
    wanted = Filter(
        status=options.status,
        slower_than=None if options.slower_than is None else seconds_of(options.slower_than, "--slower-than"),
        caller=options.caller,
        call=options.call,
    )
    limit = seconds_of(options.seconds, "--for")
    printer = _Printer(wanted, count=options.count, as_json=options.json)
    embedded = settings.bus.embedded or options.admin is not None
    work = _from_admin if embedded else _from_broker
    try:
        asyncio.run(_bounded(work(settings, options, printer), limit))
    finally:
        if not isinstance(sys.exception(), OSError):  # nobody reads on
            printer.tally()
    return 0


async def _bounded(work: Coroutine[Any, Any, None], limit: float) -> None:
    """A tap ends on its own: what is forgotten in a terminal must not look for ever."""
    try:
        async with asyncio.timeout(limit) as bound:
            await work
    except TimeoutError:
        if not bound.expired():
            raise


class _Printer:
    """Prints what is let through, says when it was enough, and in the end what was missed."""

    def __init__(self, wanted: Filter, *, count: int | None, as_json: bool) -> None:
        self._wanted = wanted
        self._count = count
        self._as_json = as_json
        self._seen = 0
        self._shown = 0
        self._unseen = 0
        self.began = False
        self.full = False
        self.unpaired = 0
        self.dropped = 0

    def head(self, topics: list[str]) -> None:
        self.began = True
        self.note(f"tapping {some(topics)}")
        if not self._as_json:
            print(fit(HEAD), flush=True)

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def take(self, call: TappedCall, bodies: tuple[object, object] | None) -> None:
        if self.full:
            return
        self._seen += call.result != "refused"  # that one was seen before
        self._unseen += call.result == "unseen"
        if not self._wanted.lets_through(call):
            return
        if self._as_json:
            print(as_json(call, bodies), flush=True)
        else:
            print("\n".join([as_text(call), *(body_lines(*bodies) if bodies else ())]), flush=True)
        self._shown += 1
        self.full = self._shown == self._count

    def tally(self) -> None:
        """What an operator has to know before believing that all was seen."""
        if self.began:
            self.note(
                f"{self._seen} calls seen, {self._shown} shown; unpaired {self.unpaired}, dropped {self.dropped}, "
                f"reply not seen {self._unseen}"
            )


async def _from_broker(settings: TapProcess, options: argparse.Namespace, printer: _Printer) -> None:
    unprinted: deque[TappedCall] = deque()
    masks = Masks(unknown=options.unknown)
    tap = Tap(
        lambda: control_address(settings.bus),
        options.pattern,
        lambda message: pairing.see(message, time.monotonic()),
        heard=masks.learn,
    )
    pairing = Pairing(unprinted.append, tap.hears, tap.since)
    looking = asyncio.create_task(tap.run(lambda: printer.head(tap.topics)))
    hinted = False
    try:
        while not printer.full and not looking.done():
            await asyncio.wait({looking}, timeout=PRINT_EVERY)
            pairing.give_up(time.monotonic())
            while unprinted:
                call = unprinted.popleft()
                printer.take(call, masks.bodies(call) if options.bodies else None)
            if tap.settled and not tap.topics and not hinted:
                hinted = True
                blocked = await tap.roll.is_blocked()
                printer.note(BLOCKED if blocked else nothing_like(options.pattern, _announced(tap)))
        if looking.done():
            looking.result()
    finally:
        printer.unpaired, printer.dropped = pairing.unpaired, pairing.dropped
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def _announced(tap: Tap) -> set[str]:
    return {contract.topic for each in tap.roll.present for contract in each.contracts}


async def _from_admin(settings: TapProcess, options: argparse.Namespace, printer: _Printer) -> None:
    """Through the admin listener of an edge: the only way into the embedded bus of another process."""
    url = options.admin or _admin_url(settings.edge.admin)
    query = {"topics": options.pattern} | {name: "1" for name in ("bodies", "unknown") if getattr(options, name)}
    async for name, document in _events(f"{url.rstrip('/')}/tap", query):
        if name == "topics":
            found = [topic for topic in document if fnmatchcase(topic, options.pattern)]
            if found:
                printer.head(found)
            else:
                printer.note(nothing_like(options.pattern, document))
        elif name == "dropped":
            printer.dropped = document
        else:
            if not printer.began:
                printer.head([document["topic"]])
            bodies = (document.get("request"), document.get("reply")) if options.bodies else None
            printer.take(TappedCall.from_document(document), bodies)
        if printer.full:
            return


def _admin_url(admin: AdminAddress) -> str:
    return f"http://{admin.host}:{admin.port}"


async def _events(url: str, query: dict[str, str]) -> AsyncIterator[tuple[str, Any]]:
    """The name and data of server-sent events.

    Raises:
        CommandError: nobody is there, it has no tap, or it went away.
    """
    import aiohttp  # noqa: PLC0415 - comes with the edge; a tap on a broker needs none

    try:
        patient = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=SILENCE)
        async with (
            aiohttp.ClientSession(timeout=patient, read_bufsize=LONGEST_EVENT) as session,
            session.get(url, params=query) as response,
        ):
            if response.status != 200:
                raise CommandError([f"{url}: {response.status}: {_REFUSED.get(response.status, response.reason)}"])
            name = ""
            async for line in response.content:
                if line.startswith(b"event: "):
                    name = line[7:].decode().strip()
                elif line.startswith(b"data: "):
                    yield name, json.loads(line[6:])
                    name = ""
    except (aiohttp.ClientError, ValueError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise CommandError([f"no tap at {url}: {why}; is the edge running, and is this its admin port?"]) from error
    raise CommandError([f"{url}: the edge ended the tap"])


_REFUSED = {
    404: f"is that the admin listener? By default it is {_admin_url(AdminAddress())}. "
    "Where the bus is a RabbitMQ, tap that: --bus",
    429: "too many taps are open there",
}
