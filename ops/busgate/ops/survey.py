"""Who answers on the control bus, who should and does not, and who holds queues that nobody answers for."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from busgate.bus import BusError, Presence, RollCall, SilentProcess, Topology
from busgate.bus.settings import BusSettings

from .holders import Holder, holders, unanswered
from .loading import control_address
from .management import NoManagementError

MOST_LOOKED_AT = 50
"""Queues of topics without a worker that are looked at one by one."""
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
        held: of topics that none of the present serves, how many consumers the broker sees; a topic is left out where
            it was not to be had.
        ignored: messages on the control bus that made no sense.
        gathers: whether the broker was away until a moment ago, and the silent may still come back to it.
        blocked: whether the broker takes no messages now; who is silent then says nothing, so nobody is named.
    """

    present: Sequence[Presence] = ()
    silent: Sequence[SilentProcess] = ()
    held: dict[str, int] = field(default_factory=dict)
    ignored: int = 0
    gathers: bool = False
    blocked: bool = False

    @property
    def mute(self) -> bool:
        """Whether nobody answers of all whom the broker knows or somebody remembers."""
        return not self.present and bool(self.silent)


async def survey(roll: RollCall, settings: BusSettings) -> Survey:
    """Look around. What the broker tells is left out where it does not."""
    if await roll.is_blocked():
        return Survey(roll.present, ignored=roll.ignored, blocked=True)
    missing = roll.silent
    names = {each.id for each in missing}
    present = [each for each in roll.present if each.id not in names]
    found = await _holders(settings)
    missing += missed(found or [], present, known=names)
    lonely = _lonely(present)
    if found is None:
        held = await _looked_up(lonely, settings)
    else:
        counts = Counter(each.queue for each in found)
        held = {topic: counts[topic] for topic in lonely}
    return Survey(present, missing, held, roll.ignored, roll.gathers)


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


async def _holders(settings: BusSettings) -> list[Holder] | None:
    url = settings.management_url()
    if url is None:
        return None
    try:
        return await holders(url, control_address(settings))
    except NoManagementError:
        return None


def _lonely(present: Sequence[Presence]) -> list[str]:
    """Topics that edges serve and no worker does."""
    served = {(each.kind, one.topic) for each in present for one in each.contracts}
    return sorted(topic for kind, topic in served if kind == "edge" and ("worker", topic) not in served)


async def _looked_up(topics: Sequence[str], settings: BusSettings) -> dict[str, int]:
    held = {}
    try:
        async with Topology(control_address(settings), kind=settings.exchange_kind) as topology:
            for topic in topics[:MOST_LOOKED_AT]:
                depth = await topology.depth(topic)
                held[topic] = depth.consumers if depth is not None else 0
    except BusError:  # this user may not look
        pass
    return held
