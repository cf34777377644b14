"""`busgate queues`: the queues of calls: how many wait, for how long, how fast they move, and who takes them."""

import argparse
import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from busgate.bus import Address, BusError, Depth, Presence, Topology, roll_call
from busgate.contracts.call import is_topic
from busgate.ops.catalog_settings import CatalogProcess
from busgate.ops.depths import depths_now
from busgate.ops.heads import Heads
from busgate.ops.holders import Holder, holders, unanswered
from busgate.ops.loading import control_address, read_catalog, read_settings
from busgate.ops.management import NoManagementError, head, oldest, queues, rate
from busgate.ops.screen import DIM, RED, YELLOW, paint, show, span, table, wrapped
from busgate.ops.survey import BLOCKED, MUTE

STANDS_OUT = 1
"""Exit code where a queue has no consumer, a call is older than anybody waits for its reply, or a worker hangs."""
SLACK = 6.0
"""Seconds beyond the timeout of a contract: the broker tells in whole seconds, and up to five seconds late."""
SLACK_OF_ONE = 12.0
"""The same, where only one snapshot of the broker was seen."""
SHOWN_TOPICS = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One queue. None where that was not to be had."""

    topic: str
    ready: int = 0
    running: int | None = None
    consumers: int = 0
    arrive: float | None = None
    """Calls a second that come in."""
    done: float | None = None
    """Calls a second that are settled."""
    oldest: float | None = None
    """Seconds since the oldest was sent, of those that wait or run."""
    answering: int | None = None
    """Processes that say on the control bus that they serve it."""
    timeout: float | None = None
    """Seconds of its contract."""
    stays: bool = False
    """Whether looks that lie apart saw the same oldest call."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look found.

    Args:
        rows: the queues.
        hung: who holds queues and does not answer.
        note: what could not be had, and why.
        bus: what is wrong with the control bus itself, so that nobody can be blamed for his silence.
        listed: whether the broker listed its queues, or only those were asked for that somebody named.
    """

    rows: Sequence[Row]
    hung: Sequence[Holder] = ()
    note: str | None = None
    bus: str | None = None
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Heard:
    """Who answered on the control bus; None where nobody could be asked: why, or because the broker is blocked."""

    present: Sequence[Presence] | None
    why: str = ""
    blocked: bool = False
    is_gone: Callable[[str], bool] = lambda _: False

    @property
    def topics(self) -> set[str]:
        return {contract.topic for each in self.present or () for contract in each.contracts}


def run(options: argparse.Namespace) -> int:
    settings = read_settings(CatalogProcess, options)
    return asyncio.run(_run(settings, options))


async def _run(settings: CatalogProcess, options: argparse.Namespace) -> int:
    catalog = read_catalog(settings.edge.contracts)
    timeouts = {call.topic: float(call.timeout) for call in catalog if not settings.edge.mocks(call)}
    address = control_address(settings.bus)
    heads = Heads()

    async def draw() -> tuple[list[str], int]:
        look = await _look(settings, address, timeouts, heads=heads)
        notes = stands_out(look)
        code = STANDS_OUT if notes else 0
        if options.json:
            document = {"queues": [asdict(row) for row in look.rows], "stands_out": notes, "note": look.note}
            return [json.dumps(document, indent=2)], code
        return _render(look, notes, address), code

    return await show(draw, watch=options.watch)


async def _look(settings: CatalogProcess, address: Address, timeouts: Mapping[str, float], *, heads: Heads) -> Look:
    """By the management API; where that is not to be had, by AMQP, and a note that says so."""
    url = settings.bus.management_url()
    why = "bus.management does not say where RabbitMQ's management API is"
    if url is not None:
        try:
            return await _by_api(url, settings, address, timeouts, heads=heads)
        except NoManagementError as error:
            why = str(error)
    heard = await _heard(address, needed=not timeouts)
    async with Topology(address) as topology:
        depths = await topology.depths(sorted({*timeouts, *heard.topics}))
    rows = [_from_amqp(Row(topic), depth) for topic, depth in depths.items()]
    note = f"no rates and ages, and a consumer that hangs cannot be named: {why}"
    return replace(_looked(rows, heard, timeouts, note=note), listed=False)


async def _by_api(
    url: str, settings: CatalogProcess, address: Address, timeouts: Mapping[str, float], *, heads: Heads
) -> Look:
    found, holding = await asyncio.gather(queues(url, address), holders(url, address))
    consumers = Counter(each.queue for each in holding)
    ours = [queue for queue in found if is_topic(str(queue.get("name")).partition("@")[0])]
    now = time.monotonic()
    rows = {
        (name := str(each["name"])): replace(_from_api(each, consumers), stays=heads.stays(name, head(each), now))
        for each in ours
    }
    heard = await _heard(address)
    named = {*timeouts, *heard.topics}
    rows |= {topic: Row(topic) for topic in named - rows.keys()}
    # Of others the API's word will do: to ask after a queue would keep one that nobody uses from going away.
    lonely = [topic for topic, row in rows.items() if not row.consumers and topic in named]
    rows |= {topic: _from_amqp(rows[topic], depth) for topic, depth in (await depths_now(lonely, settings.bus)).items()}
    return _looked(list(rows.values()), heard, timeouts, holding=holding)


def _looked(
    rows: Sequence[Row],
    heard: Heard,
    timeouts: Mapping[str, float],
    *,
    holding: Sequence[Holder] = (),
    note: str | None = None,
) -> Look:
    """Queues with what processes say of them; who holds one and does not answer is named where others do."""
    notes = [note] if note else []
    if heard.why:
        notes.append(f"ANSWER is not known: {heard.why}")
    bus = BLOCKED if heard.blocked else None
    holding = [each for each in holding if not heard.is_gone(each.process)]
    if heard.present == [] and any(each.process for each in holding):
        bus = MUTE
    answering = {one.id for one in heard.present or ()}
    hung = unanswered(holding, answering) if heard.present and bus is None else ()
    full = [_completed(row, heard.present, timeouts) for row in rows]
    return Look(full, hung, "; ".join(notes) or None, bus)


async def _heard(address: Address, *, needed: bool = False) -> Heard:
    """Who answers. Raises BusError where the control bus cannot be used, and it is needed."""
    try:
        async with roll_call(lambda: address, name="queues") as roll:
            return Heard(None, blocked=True) if await roll.is_blocked() else Heard(roll.present, is_gone=roll.is_gone)
    except BusError as error:
        if needed:
            raise
        return Heard(None, str(error))


def _completed(row: Row, present: Sequence[Presence] | None, timeouts: Mapping[str, float]) -> Row:
    """A queue with what processes say of its contract; None: nobody could be asked."""
    topic = row.topic.partition("@")[0]
    serving = [(each, one) for each in present or () for one in each.contracts if one.topic == topic]
    said = [timeouts.get(topic, 0.0), *(one.timeout for _, one in serving)]
    answering = None if present is None else sum(each.kind == "worker" for each, _ in serving)
    return replace(row, answering=answering, timeout=max(said) or None)


def _from_api(queue: dict[str, object], consumers: Mapping[str, int]) -> Row:
    def count(name: str) -> int:
        value = queue.get(name)
        return value if isinstance(value, int) else 0

    return Row(
        topic=str(queue.get("name")),
        ready=count("messages_ready"),
        running=count("messages_unacknowledged"),
        consumers=consumers.get(str(queue.get("name")), 0),
        arrive=rate(queue, "publish"),
        done=rate(queue, "ack"),
        oldest=oldest(queue),
    )


def _from_amqp(row: Row, depth: Depth | None) -> Row:
    """A queue with what AMQP tells of it; no queue has nothing in it, and nobody takes from it."""
    return replace(row, ready=depth.ready, consumers=depth.consumers) if depth is not None else Row(row.topic)


def stands_out(look: Look) -> list[str]:
    """What is wrong and what to do, a line for each queue that needs it."""
    notes = [look.bus] if look.bus else []
    hung = _by_process(look.hung)
    notes += [_hangs(process, topics) for process, topics in hung.items()]
    explained = {topic for topics in hung.values() for topic in topics}
    for row in look.rows:
        if not row.consumers and row.ready:
            notes.append(f"{row.topic}: {row.ready:,} calls wait for nobody; start a worker")
        elif not row.consumers:
            notes.append(f"{row.topic}: nobody takes its calls, callers get 503; start a worker")
        elif _is_overdue(row) and row.topic not in explained and not look.bus:
            notes.append(_overdue(row))
    return notes


def _by_process(hung: Iterable[Holder]) -> dict[Holder, list[str]]:
    """The queues that each process holds; of the holders of a process the first stands for all."""
    first: dict[str, Holder] = {}
    found: dict[Holder, list[str]] = defaultdict(list)
    for each in hung:
        found[first.setdefault(each.process, each)].append(each.queue)
    return found


def _hangs(each: Holder, topics: Iterable[str]) -> str:
    names = sorted(topics)
    more = f" and {len(names) - SHOWN_TOPICS} more" if len(names) > SHOWN_TOPICS else ""
    return (
        f"{each.process}, pid {each.pid} on {each.host} ({each.peer}), gets calls of {', '.join(names[:SHOWN_TOPICS])}"
        f"{more} from the broker, but does not answer on the control bus: it hangs (`busgate ps` says so again: "
        "kill -9 it, start it again) or may not use the control bus (see its log)"
    )


def _is_overdue(row: Row) -> bool:
    """Whether the oldest call is older than anybody waits for its reply, and not only in an old snapshot."""
    if row.oldest is None or row.timeout is None:
        return False
    late = row.oldest - row.timeout
    return (late > SLACK and row.stays) or (late > SLACK_OF_ONE and bool(row.running))


def _overdue(row: Row) -> str:
    age = f"its oldest call was sent {span(row.oldest or 0)} ago, and its contract gives it {row.timeout:g} s"
    if row.running:
        return (
            f"{row.topic}: {age}: a worker that took it hangs, or the handler does; `busgate ps` names who is silent, "
            "busgate_worker_stuck of a worker counts handlers that nothing can end: end that process, start it again"
        )
    return f"{row.topic}: {age}: its consumers take nothing; `busgate ps` names who is silent: end it, start it again"


def _render(look: Look, notes: Sequence[str], address: Address) -> list[str]:
    note = [paint(line, DIM) for line in wrapped(look.note)] if look.note else []
    said = [paint(line, RED) for each in notes for line in wrapped(f"! {each}")]
    if not look.rows:
        none = "no queues of calls" if look.listed else "nobody answers and names a contract, so no queue is known"
        return [*(said or [f"{none} on {address}"]), *note]
    rows = sorted(look.rows, key=lambda row: row.topic)
    head = ["TOPIC", "WAITING", "RUNNING", "CONSUMERS", "ANSWER", "IN/S", "DONE/S", "OLDEST"]
    cells = [
        [
            row.topic,
            f"{row.ready:,}",
            "-" if row.running is None else f"{row.running:,}",
            str(row.consumers),
            "-" if row.answering is None else str(row.answering),
            _rate(row.arrive),
            _rate(row.done),
            "-" if row.oldest is None else span(row.oldest),
        ]
        for row in rows
    ]
    first, *rest = table(head, cells, spare=["IN/S", "DONE/S"])
    text = [paint(first, DIM), *(paint(line, _colour(row, look)) for line, row in zip(rest, rows, strict=True))]
    return [*text, "", *said, *note] if said else [*text, *note]


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _colour(row: Row, look: Look) -> str:
    if not row.consumers or _is_overdue(row) or row.topic in {each.queue for each in look.hung}:
        return RED
    return YELLOW if row.ready and row.oldest is not None and row.oldest > 1 else ""
