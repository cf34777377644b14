"""Checks of calls that come twice, and of those that were delivered before."""

import asyncio

from busgate.contracts.failure import REDELIVERED

from .letters import Letter
from .probe import Answer
from .trial import Check, Failed, Trial

_CLOSE, _APART = 0.002, 0.02
"""Seconds between two attempts of a call that runs and of one that was answered: a second run shows in `received`."""


async def known_call(trial: Trial) -> None:
    """Another attempt of a call that was answered: the same answer, without a second run."""
    first, second = _two_attempts(trial)
    answer = await trial.ask_well(first)
    await asyncio.sleep(_APART)
    _must_be_the_same(answer, await trial.ask(second))


async def running_call(trial: Trial) -> None:
    """Another attempt while the call may still run: both are answered, by one run."""
    for _ in range(3):  # two runs may begin in one millisecond, but not each time
        first, second = _two_attempts(trial)
        sent = await trial.probe.send(first)
        await asyncio.sleep(_CLOSE)
        others = await trial.probe.send(second)
        answer = await trial.answer(sent)
        trial.must_be_good(answer)
        _must_be_the_same(answer, await trial.answer(others))


async def known_and_redelivered(trial: Trial) -> None:
    """As after a lost ack: what is known is said again, even where nothing may run twice."""
    first, second = _two_attempts(trial)
    answer = await trial.ask_well(first)
    await asyncio.sleep(_APART)
    _must_be_the_same(answer, await trial.ask_as_redelivered(second))


async def redelivered(trial: Trial) -> None:
    """It may have run elsewhere; the contract says whether it may run again."""
    answer = await trial.ask_as_redelivered(trial.call())
    refused = answer.problem == REDELIVERED.type
    if trial.reruns and refused:
        raise Failed("it was refused, but this contract says run")
    if trial.reruns is False and not refused:
        raise Failed(f"answered {answer}, not {REDELIVERED.type}: this contract does not let it run twice")
    if not refused:
        trial.must_be_good(answer)


async def redelivered_too_late(trial: Trial) -> None:
    """`too-late` means that nothing was done, which nobody knows of a call that was delivered before."""
    letter = trial.call()
    late = letter.changed(headers={"deadline": letter.headers["deadline"] - 3_600_000})
    answer = await trial.ask_as_redelivered(late)
    if answer.problem != REDELIVERED.type:
        raise Failed(f"answered {answer}, not {REDELIVERED.type}: it may have run elsewhere")


def _two_attempts(trial: Trial) -> tuple[Letter, Letter]:
    """The same call under two correlation ids."""
    first, other = trial.call(), trial.call()
    return first, other.changed(body=first.body, headers=first.headers)


def _must_be_the_same(first: Answer, second: Answer) -> None:
    if first.known_by == second.known_by:
        return
    if (first.type, first.body) != (second.type, second.body):
        raise Failed(f"answered {first} and then {second}, not the same again")
    raise Failed("it ran again: `received` or `ran` is another in the second answer")


CHECKS = [
    Check("a call that was answered is not run again", known_call),
    Check("a call that runs is not run twice, and both attempts are answered", running_call),
    Check("a redelivered call that was answered is not run again", known_and_redelivered),
    Check("a redelivered call is run or refused, as its contract says", redelivered),
    Check("a redelivered call after its deadline is not called too late", redelivered_too_late),
]
