"""Checks of what must not be taken for a call: acked, dropped, never answered, and the worker lives on."""

import asyncio
from functools import partial
from typing import Any

from .trial import Check, Failed, Trial

FLOOD = 300
"""Messages that are no calls, in a row: more than a prefetch, so that who does not ack them comes to a stand."""
_COMES_BACK = 0.05
"""Seconds in which a message that was handed back is in the queue again."""

_WRONG: dict[str, dict[str, Any]] = {
    "wire version 2": {"headers": {"wire": 2}},
    "wire version as text": {"headers": {"wire": "1"}},
    "no wire version": {"headers": {"wire": None}},
    "type command": {"properties": {"message_type": "command"}},
    "no type": {"properties": {"message_type": None}},
    "content type text/plain": {"properties": {"content_type": "text/plain"}},
    "no reply_to": {"properties": {"reply_to": None}},
    "no correlation id": {"properties": {"correlation_id": None}},
    "a correlation id of 8 bytes": {"properties": {"correlation_id": "01234567"}},
    "no call id": {"headers": {"call": None}},
    "a call id in upper case": {"headers": {"call": "0123456789ABCDEF" * 2}},
    "no deadline": {"headers": {"deadline": None}},
    "a deadline as text": {"headers": {"deadline": "4102444800000"}},
    "no hops": {"headers": {"hops": None}},
    "hops over 8": {"headers": {"hops": 9}},
    "no traceparent": {"headers": {"traceparent": None}},
    "a traceparent of zeros": {"headers": {"traceparent": f"00-{'0' * 32}-{'0' * 16}-00"}},
    "a caller that is no text": {"headers": {"caller": 5}},
    "a header CC": {"headers": {"CC": ["busgate.conformance.nowhere"]}},
}


async def dropped(trial: Trial, *, changes: dict[str, Any]) -> None:
    """A message that is no call, and a good call behind it."""
    before = len(trial.probe.strays)
    sent = await trial.probe.send(trial.call(**changes))
    trial.dropped.append(sent)
    try:
        await trial.ask_well(trial.call())
    except Failed as fault:
        raise Failed(f"the good call behind it: {fault}") from None
    left = await trial.probe.left(_COMES_BACK)
    if sent.answers or len(trial.probe.strays) > before:
        raise Failed(f"it was answered {(sent.answers or trial.probe.strays)[-1]}")
    if sent in left:
        raise Failed("it was handed back to the queue, where it comes again and again; ack it")


async def carried_here(trial: Trial) -> None:
    """CC brings a message to queues that its sender may not publish to; it arrives with another routing key."""
    await dropped(trial, changes={"key": "busgate.conformance.elsewhere", "headers": {"CC": [trial.probe.topic]}})


async def foreign_reply_to(trial: Trial) -> None:
    """Who answers to it writes into a queue of somebody's choice."""
    await dropped(trial, changes={"properties": {"reply_to": trial.probe.other_queue}})
    if trial.probe.misled:
        raise Failed("it was answered, into a queue of the sender's choice")


async def flood(trial: Trial) -> None:
    """Acked: else they fill the prefetch and the worker gets nothing more."""
    wrong = [trial.call(headers={"wire": 2}) for _ in range(FLOOD)]
    trial.dropped += await asyncio.gather(*map(trial.probe.send, wrong))
    try:
        await trial.ask_well(trial.call())
    except Failed as fault:
        raise Failed(f"the good call behind {FLOOD} of them: {fault}; ack what you drop") from None


async def never_answered(trial: Trial) -> None:
    """Looked at once more at the end: an answer may come late."""
    if late := [sent for sent in trial.dropped if sent.answers]:
        raise Failed(f"{len(late)} of {len(trial.dropped)} were answered later on")
    if strays := trial.probe.strays:
        raise Failed(f"{len(strays)} answers belong to no call, one to {strays[-1].correlation_id!r}")
    if trial.probe.misled:
        raise Failed("one was answered, into a queue of the sender's choice")


CHECKS = [
    *(Check(f"dropped: {name}", partial(dropped, changes=changes)) for name, changes in _WRONG.items()),
    Check("dropped: carried here from another topic", carried_here),
    Check("dropped: a reply_to of another form", foreign_reply_to),
    Check(f"dropped: {FLOOD} in a row, and all of them acked", flood),
]
NONE_LATER = Check("dropped: none was answered later on", never_answered)
