"""Who answers on the control bus, who should and does not, and which contracts nobody answers for."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from busgate.bus import Presence, RollCall, SilentProcess
from busgate.bus.roll_call import WAIT
from busgate.bus.settings import BusSettings
from busgate.contracts.call import is_topic

from .depths import depths_now
from .holders import Holder, holders, unanswered
from .loading import control_address
from .management import NoManagementError, queues

BLOCKED = (
    "the broker takes no messages (a memory or disk alarm), so nobody can answer on the control bus, well or not: "
    "see `rabbitmq-diagnostics alarms`, free memory or disk, and look again"
)
MUTE = (
    "nobody answers on the control bus, though there are consumers: a broker with a memory or disk alarm takes no "
    "messages (see /readyz of an edge, `rabbitmq-diagnostics alarms`), or none of them may use the control bus "
    "(see their logs), or all of them hang"
)


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look found.

    Args:
        present: who answers.
        silent: who was there and answers no more; of those whom only the broker knows, `seconds` is 0.
        lonely: topics of edges, or with a queue, that none of the present takes calls of: how many consumers the
            broker sees; None is not known.
        ignored: messages on the control bus that made no sense.
        gathers: whether the broker was away until a moment ago, and the silent may still come back to it.
        blocked: whether the broker takes no messages now; who is silent then says nothing, so nobody is named.
        mute: whether nobody answers of all who take calls, as the broker sees it.
    """

    present: Sequence[Presence] = ()
    silent: Sequence[SilentProcess] = ()
    lonely: dict[str, int | None] = field(default_factory=dict)
    ignored: int = 0
    gathers: bool = False
    blocked: bool = False
    mute: bool = False

    @property
    def nobody(self) -> bool:
        """Whether nobody answers, nobody is missed, and nothing explains it."""
        return not self.present and not self.silent and not self.blocked


async def survey(roll: RollCall, settings: BusSettings) -> Survey:
    """Look around, once all had a moment to answer. What the broker tells is left out where it does not."""
    held, topics = await _told(settings)
    await asyncio.sleep(WAIT)  # after it: whoever just began to take calls is on the control bus by then
    if await roll.is_blocked():
        return Survey(roll.present, ignored=roll.ignored, blocked=True)
    lonely = await _lonely(_answering(roll), settings)
    if any(lonely.values()):  # a consumer of whom nobody heard; if it just came, it says so in a moment
        await asyncio.sleep(WAIT)
        served = _topics(each for each in _answering(roll) if each.kind == "worker")
        lonely = {topic: consumers for topic, consumers in lonely.items() if not consumers or topic not in served}
    present, silent = _answering(roll), roll.silent
    lonely |= _left_over(topics, held, present)
    held = [each for each in held if not roll.is_gone(each.process)]
    return Survey(
        present=present,
        silent=silent + missed(held, present, known={each.id for each in silent}),
        lonely=dict(sorted(lonely.items())),
        ignored=roll.ignored,
        gathers=roll.gathers,
        mute=not present and any(each.process for each in held),
    )


def _answering(roll: RollCall) -> list[Presence]:
    """Who is there and not overdue."""
    silent = {each.id for each in roll.silent}
    return [each for each in roll.present if each.id not in silent]


def missed(found: Iterable[Holder], present: Sequence[Presence], *, known: set[str]) -> list[SilentProcess]:
    """Processes of ours that hold queues, do not answer, and are not known to be silent yet."""
    answering = {each.id for each in present} | known
    by_name = {each.process: each for each in unanswered(found, answering)}
    silent = []
    for name, each in sorted(by_name.items()):
        try:
            silent.append(SilentProcess(id=name, kind="worker", host=each.host, pid=each.pid, seconds=0))
        except ValidationError:  # no name of ours: somebody only says that it is busgate
            continue
    return silent


async def _told(settings: BusSettings) -> tuple[list[Holder], list[str]]:
    """Who holds queues, and of which topics there are any, as the management API says: nothing where it does not."""
    url, address = settings.management_url(), control_address(settings)
    if url is None:
        return [], []
    try:
        held, there = await asyncio.gather(holders(url, address), queues(url, address))
    except NoManagementError:
        return [], []
    return held, [name for each in there if is_topic(name := str(each.get("name")))]


async def _lonely(present: Sequence[Presence], settings: BusSettings) -> dict[str, int | None]:
    """Of what edges call, what nobody takes calls of: how many consumers there are all the same.

    A worker that drains, or one that has more contracts than it names, may take them: it counts where there is none.
    """
    workers = [each for each in present if each.kind == "worker"]
    called = _topics(each for each in present if each.kind == "edge")
    taken = _topics(each for each in workers if each.state == "serving")
    sure = set[str]() if any(each.more_contracts for each in workers) else called - _topics(workers)
    asked = called - taken
    now = await depths_now(asked, settings)
    lonely = {}
    for topic in asked:
        depth = now.get(topic)
        consumers = depth.consumers if depth is not None else 0 if topic in now else None
        if consumers == 0 or topic in sure:
            lonely[topic] = consumers
    return lonely


def _left_over(topics: Iterable[str], held: Iterable[Holder], present: Sequence[Presence]) -> dict[str, int | None]:
    """Topics that no edge calls any more, and whose queue nobody takes from.

    The broker is not asked after them by AMQP: that would keep a queue that nobody uses from ever going away.
    """
    used = {each.queue for each in held} | _topics(present)
    return {topic: 0 for topic in topics if topic not in used}


def _topics(processes: Iterable[Presence]) -> set[str]:
    return {contract.topic for each in processes for contract in each.contracts}
