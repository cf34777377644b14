"""All checks in their order, and how they are run: each in bounded time, and none after the worker fell silent."""

import asyncio
from collections.abc import Sequence

from . import answering, crowding, dropping, repeating
from .report import Verdict
from .trial import Check, Failed, Trial, Unseen

LONGEST = 20
"""Times the timeout that one check may take."""


CHECKS = (
    *answering.CHECKS,
    *dropping.CHECKS,
    *repeating.CHECKS,
    *crowding.CHECKS,
    dropping.NONE_LATER,
    crowding.STOP,  # the last: there is no worker after it
)


async def run_checks(checks: Sequence[Check], trial: Trial) -> list[Verdict]:
    """Run checks in their order; a verdict for each."""
    verdicts: list[Verdict] = []
    for number, check in enumerate(checks):
        verdict = await _run(check, trial)
        verdicts.append(verdict)
        if verdict.state == "failed" and check is not checks[-1] and not await _answers(trial):
            verdicts += _skipped(checks[number + 1 :])
            break
    return verdicts


async def _run(check: Check, trial: Trial) -> Verdict:
    limit = LONGEST * trial.timeout + (trial.drain or 0)
    try:
        async with asyncio.timeout(limit):
            note = await check.run(trial)
    except Failed as fault:
        return Verdict(check.name, "failed", str(fault))
    except Unseen as reason:
        return Verdict(check.name, "skipped", str(reason))
    except TimeoutError:
        return Verdict(check.name, "failed", f"it took longer than {limit:g} s")
    return Verdict(check.name, "passed", note or "")


async def _answers(trial: Trial) -> bool:
    """Whether the worker still answers anything."""
    try:
        await trial.ask(trial.call())
    except Failed:
        return False
    return True


def _skipped(checks: Sequence[Check]) -> list[Verdict]:
    return [Verdict(check.name, "skipped", "the worker answers no call any more") for check in checks]
