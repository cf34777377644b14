"""Checks of many calls at once, and of a stop in the middle of them."""

import asyncio
import time

from .probe import Sent
from .trial import Check, Failed, Trial, Unseen

MANY = 500
GREEDY = 0.8
"""The part of them that a worker may not hold at one time."""
PATIENCE = 6
"""Times the timeout that many calls may take together."""
IN_FLIGHT = 8
"""Calls that are under way while the worker is stopped."""
LOOK_EVERY = 0.02
SETTLE = 0.5
"""Seconds in which a worker that closes hands back what it holds."""


async def many(trial: Trial) -> None:
    """Each is answered, and once."""
    patience = PATIENCE * trial.timeout
    sent = await asyncio.gather(*(trial.probe.send(trial.call_within(patience)) for _ in range(MANY)))
    end = time.monotonic() + patience
    for each in sent:
        await each.answer(max(end - time.monotonic(), 0))
    counts = [len(each.answers) for each in sent]
    if silent := counts.count(0):
        raise Failed(f"{silent} of {MANY} were not answered within {patience:g} s")
    if twice := sum(count > 1 for count in counts):
        raise Failed(f"{twice} of {MANY} were answered more than once")
    for each in sent:
        trial.must_be_good(each.answers[0])


async def backlog(trial: Trial) -> str:
    """Calls that wait already: who has no prefetch takes all of them, and other workers get nothing.

    They come in one moment because we held them; so they count as redelivered, and may be refused.
    """
    patience = PATIENCE * trial.timeout
    sent = await trial.probe.send_as_redelivered(*(trial.call_within(patience) for _ in range(MANY)))
    end = time.monotonic() + patience
    most = 0
    while (unanswered := sum(not each.answers for each in sent)) and time.monotonic() < end:
        ready, _ = await trial.probe.ready()
        await asyncio.sleep(LOOK_EVERY)  # what was answered until then has come: a fast worker is not a greedy one
        most = max(most, sum(not each.answers for each in sent) - ready)
    if unanswered:
        raise Failed(f"{unanswered} of {MANY} were not answered within {patience:g} s")
    if most >= GREEDY * MANY:
        raise Failed(f"it took {most} of {MANY} calls at one time; set a prefetch")
    return f"it took at most {most} at one time"


async def stop(trial: Trial) -> str:
    """What was sent to the worker is answered before it closes, and nothing is handed back."""
    if trial.drain is None:
        raise Unseen("only with --drain, because somebody must stop the worker")
    trial.tell(f"stop the worker now, as you would to deploy (SIGTERM); there are {trial.drain:g} s for it")
    waiting, number = await _until_it_consumes_no_more(trial, trial.drain)
    back, lost = await _what_became_of(trial, waiting)
    if lost:
        raise Failed(f"{lost} calls were neither answered nor handed back within {trial.timeout:g} s")
    if unacked := sum(bool(sent.answers) for sent in back):
        raise Failed(f"{unacked} calls were answered but not acked: others get them again")
    if back:
        raise Failed(f"{len(back)} calls were handed back, and count as redelivered; run what was sent to you")
    return f"{number} calls meanwhile"


async def _until_it_consumes_no_more(trial: Trial, seconds: float) -> tuple[set[Sent], int]:
    """Keep calls in flight until the consumer is gone; those without an answer, and how many there were."""
    waiting: set[Sent] = set()
    number = 0
    end = time.monotonic() + seconds
    while (await trial.probe.ready())[1]:
        if time.monotonic() > end:
            raise Failed(f"it still consumes after {seconds:g} s")
        waiting = {sent for sent in waiting if not sent.answers}
        for _ in range(IN_FLIGHT - len(waiting)):
            waiting.add(await trial.probe.send(trial.call()))
            number += 1
        await asyncio.sleep(LOOK_EVERY)
    return waiting, number


async def _what_became_of(trial: Trial, waiting: set[Sent]) -> tuple[list[Sent], int]:
    """Calls that came back to the queue from the worker, and the number of those that are lost."""
    back: list[Sent] = []
    end = time.monotonic() + trial.timeout
    settled = time.monotonic() + SETTLE
    while time.monotonic() < (end if waiting else settled):
        found = await trial.probe.get()
        if found is None:
            await asyncio.sleep(LOOK_EVERY)
        else:
            sent, was_delivered = found
            waiting.discard(sent)
            if was_delivered:  # else it came after the consumer had gone
                back.append(sent)
        before = len(waiting)
        waiting = {sent for sent in waiting if not sent.answers}
        if len(waiting) < before:
            settled = time.monotonic() + SETTLE
    return back, len(waiting)


CHECKS = [
    Check(f"{MANY} calls at once are answered, each once", many),
    Check("a backlog is not taken in one piece", backlog),
]
STOP = Check("a stop in the middle of calls fails none of them", stop)
