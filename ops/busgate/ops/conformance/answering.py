"""Checks of what is answered: good calls in every form that they may have, and the form of the answers."""

import json
from typing import Any

from busgate.bus.wire import REPLIES_EXCHANGE, VERSION
from busgate.contracts.failure import TOO_LATE, WORKER_KINDS

from .letters import Encoding
from .probe import Answer, Sent
from .trial import PROBLEM, Check, Failed, Trial

SKEW = 0.5
"""Seconds that two clocks may differ."""
STRANGE_HEADERS = {
    "x-new": "text",
    "x-number": 3.5,
    "x-flag": True,
    "x-list": [1, "two", {"three": 3}],
    "x-table": {"deep": {"deeper": [1, 2]}},
    "x-bytes": bytearray(b"\x00\xff"),
}
"""A header of every type that clients write."""
SIGNED_HEADERS = {"caller": '{"sub":"conformance"}', "jws": "e30." * 100 + "e30", "via": "conformance"}
"""As an edge that signs and a service that calls on send them; who verifies nothing does not look at them."""
FRAME, LARGE = 200_000, 4_000_000
"""Bytes of two bodies: more than one frame, and many."""


async def good_calls(trial: Trial) -> None:
    """All requests, as an edge would send them."""
    for body in trial.requests:
        answer = await trial.ask_well(trial.probe.call(body, encoding=Encoding.EDGE))
        trial.service = str(answer.headers.get("service", ""))


async def form(trial: Trial) -> None:
    """The properties and headers of an answer, one by one."""
    sent = await trial.probe.send(trial.call(encoding=Encoding.EDGE))
    answer = await trial.answer(sent)
    if faults := _faults_of_form(sent, answer):
        raise Failed("; ".join(faults))


def _faults_of_form(sent: Sent, answer: Answer) -> list[str]:
    headers = answer.headers
    early, late = sent.at - SKEW, answer.received_at + SKEW
    received, ran = headers.get("received"), headers.get("ran")
    checks = {
        f"it came by the exchange {answer.exchange!r}, not {REPLIES_EXCHANGE}": answer.exchange == REPLIES_EXCHANGE,
        f"content_type is {answer.content_type!r}": answer.content_type == "application/json",
        f"delivery_mode is {answer.delivery_mode!r}, not 1": answer.delivery_mode == 1,
        f"header wire is {headers.get('wire')!r}, not the integer {VERSION}": _is(headers.get("wire"), VERSION),
        f"header service is {headers.get('service')!r}, not text": bool(_text(headers.get("service"))),
        f"header received is {received!r}, not epoch milliseconds": type(received) is int,
        f"header ran is {ran!r}, not milliseconds": type(ran) is int and ran >= 0,
        "the body is not JSON": _is_json(answer.body),
    }
    faults = [fault for fault, well in checks.items() if not well]
    if not faults and not early * 1000 <= headers["received"] <= late * 1000:
        faults.append(
            f"header received is {headers['received']}, before the call or after its answer: is a clock wrong?"
        )
    return faults


async def correlation(trial: Trial) -> None:
    """Ids of every length and letter come back as they came."""
    for correlation_id in ("0123456789abcdef", "-_.~:/ UPPER lower 0123456789 " * 2 + "abcd", "é" * 16):
        letter = trial.call(properties={"correlation_id": correlation_id}, mark=correlation_id)
        if await (await trial.probe.send(letter)).answer(trial.timeout) is None:
            other = f", but one to {trial.probe.strays[-1].correlation_id!r}" if trial.probe.strays else ""
            raise Failed(f"no answer to the correlation id {correlation_id!r}{other}")


async def encodings(trial: Trial) -> None:
    """Integers of any size, headers in any order, properties that mean nothing here."""
    for encoding in Encoding:
        try:
            await trial.ask_well(trial.call(encoding=encoding))
        except Failed as fault:
            raise Failed(f"{encoding.value}: {fault}") from None


async def unknown_headers(trial: Trial) -> None:
    await trial.ask_well(trial.call(headers=STRANGE_HEADERS))


async def signed_callers(trial: Trial) -> None:
    for encoding in (Encoding.EDGE, Encoding.SMALL):
        await trial.ask_well(trial.call(headers=SIGNED_HEADERS, encoding=encoding))


async def unknown_members(trial: Trial) -> None:
    """A newer edge sends more than this worker knows."""
    for body in trial.requests:
        plain = await trial.ask_well(trial.probe.call(body))
        more = await trial.ask_well(trial.probe.call(_with(body, addedLater={"a": [1, None, "b"]})))
        if plain.type != more.type:
            raise Failed(f"a request with one member more was answered {more}, without it {plain}")


async def big_bodies(trial: Trial) -> None:
    for size in (FRAME, LARGE):
        try:
            await trial.ask_well(trial.call().changed(body=_with(trial.requests[0], padding="x" * size)))
        except Failed as fault:
            raise Failed(f"a body of {size:,} bytes: {fault}") from None


async def too_late(trial: Trial) -> None:
    """The deadline is over, although the message has not expired."""
    letter = trial.call()
    answer = await trial.ask(letter.changed(headers={"deadline": letter.headers["deadline"] - 3_600_000}))
    if answer.problem != TOO_LATE.type:
        raise Failed(f"answered {answer}, not {TOO_LATE.type}")


async def unreadable(trial: Trial) -> None:
    """What cannot be read is a problem, not silence, and not the end of the worker."""
    for body in (b"\xff{", b"[]", b""):
        answer = await trial.ask(trial.call().changed(body=body))
        if answer.type != PROBLEM or answer.problem not in WORKER_KINDS:
            raise Failed(f"the body {body!r} was answered {answer}; say urn:busgate:unreadable-request")


async def caller_gone(trial: Trial) -> None:
    """The reply is returned by the broker; that must not end the worker."""
    gone = f"{trial.probe.reply_queue}.gone"
    await trial.probe.send(trial.call(properties={"reply_to": gone}))
    for _ in range(2):  # the return reaches the worker while it answers the first
        await trial.ask_well(trial.call())


def _with(body: bytes, **members: Any) -> bytes:
    document = json.loads(body)
    return json.dumps(document | members).encode()


def _is(value: object, number: int) -> bool:
    return type(value) is int and value == number


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


CHECKS = [
    Check("good calls are answered", good_calls),
    Check("answers have the form of the page", form),
    Check("correlation ids come back as they came", correlation),
    Check("encodings: integers of any size, headers in any order", encodings),
    Check("unknown headers are ignored", unknown_headers),
    Check("a signed caller is survived", signed_callers),
    Check("unknown members of the body are ignored", unknown_members),
    Check("large bodies are read", big_bodies),
    Check("a call after its deadline is not run, and says so", too_late),
    Check("what cannot be read is answered with a problem", unreadable),
    Check("a caller that is gone harms nobody", caller_gone),
]
