"""The services behind the contracts. Every execution is noted in a file, for the invariants."""

import asyncio
import json
import os
import signal
import time

from pydantic import BaseModel

from busgate.bus.wire import MAX_MESSAGE
from busgate.contracts import Call, http
from busgate.workers import Context, Service

from .contracts import Ask, Declined, Errand, Improvised, Order, Told, nowhere, obey, read, send, skewed, write

LOG = "PROBE_LOG"
"""The environment variable that names the file."""
SECRET = "a-secret-of-the-service"

probe = Service("probe")


class _Newer(BaseModel):
    nonce: str
    colour: str


_skewed = Call(skewed.topic, http.post("/skewed"), request=_Newer, reply=Told)


def note(event: str, topic: str, nonce: str, context: Context) -> None:
    """Append one line; a single write to a file opened for appending is not torn."""
    line = {
        "event": event,
        "topic": topic,
        "nonce": nonce,
        "call": context.call_id,
        "pid": os.getpid(),
        "at": time.time(),
        "deadline": context.deadline,
        "redelivered": context.redelivered,
    }
    descriptor = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def told(nonce: str, context: Context) -> Told:
    return Told(nonce=nonce, caller=context.caller.subject if context.caller else "", pid=os.getpid())


async def _work(topic: str, request: Ask, context: Context) -> Told:
    note("start", topic, request.nonce, context)
    if request.ms:
        await asyncio.sleep(request.ms / 1000)
    note("end", topic, request.nonce, context)
    return told(request.nonce, context)


@probe.handles(read)
async def answer_read(request: Ask, context: Context) -> Told:
    return await _work(read.topic, request, context)


@probe.handles(write)
async def answer_write(request: Ask, context: Context) -> Told:
    return await _work(write.topic, request, context)


@probe.handles(obey)
async def answer_obey(request: Order, context: Context) -> Told:
    note("start", obey.topic, request.nonce, context)
    match request.how:
        case "crash":
            raise RuntimeError(f"{SECRET} in {__file__}")
        case "decline":
            raise Declined("not today", left=3)
        case "improvise":
            raise Improvised(SECRET)
        case "hang":
            await asyncio.Event().wait()
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "lie":
            return Ask(nonce=request.nonce)  # type: ignore[return-value]
        case "block":
            time.sleep(0.4)  # noqa: ASYNC251 - it holds the event loop on purpose
            return told(request.nonce, context)
        case "swell":
            return Told(nonce=request.nonce, caller="x" * MAX_MESSAGE, pid=0)
    raise AssertionError


@probe.handles(send)
async def answer_send(request: Errand, context: Context) -> Told:
    note("start", send.topic, request.nonce, context)
    match request.to:
        case "order":
            return await context.call(obey, Order(nonce=f"{request.nonce}-n", how="crash"))
        case "nowhere":
            return await context.call(nowhere, Ask(nonce=f"{request.nonce}-n"))
        case "late":
            return await context.call(read, Ask(nonce=f"{request.nonce}-n", ms=20_000))
        case "itself":
            return await context.call(send, Errand(nonce=f"{request.nonce}-n", to="itself"))


@probe.handles(_skewed)
async def answer_skewed(request: _Newer, context: Context) -> Told:
    note("start", skewed.topic, request.nonce, context)
    return told(request.nonce, context)
