"""Contracts and handlers for what an echo does not show: no door, slow handlers, a known capacity, calls that wait."""

import asyncio
import random

from bench.echo import Echo
from busgate.contracts import Call, http
from busgate.workers import Context, Service

SLOW_SHARE = 0.005
SLOW_SECONDS = 1.0
BUSY_SECONDS = 0.020
BUSY_AT_A_TIME = 4
"""So one worker can do 4 / 0.020 s = 200 calls/s, and 10 times that is less than half of what one edge can refuse."""

opened = Call("bench.open.echo.v1", http.post("/open"), request=Echo, reply=Echo, public=True)
guarded = Call("bench.guarded.echo.v1", http.post("/guarded"), request=Echo, reply=Echo, scopes={"echo"})
twinned = Call("bench.twinned.echo.v1", http.post("/twinned"), request=Echo, reply=Echo, scopes={"echo"})
"""As guarded, with names as long, and nothing else on it."""
proven = Call("bench.proven.echo.v1", http.post("/proven"), request=Echo, reply=Echo, scopes={"echo"})
even = Call("bench.even.echo.v1", http.post("/even"), request=Echo, reply=Echo, scopes={"echo"}, prefetch=512)
mixed = Call("bench.mixed.echo.v1", http.post("/mixed"), request=Echo, reply=Echo, scopes={"echo"}, prefetch=512)
busy = Call(
    "bench.busy.echo.v1",
    http.post("/busy"),
    request=Echo,
    reply=Echo,
    scopes={"echo"},
    prefetch=BUSY_AT_A_TIME,
)
hold = Call("bench.hold.echo.v1", http.post("/hold"), request=Echo, reply=Echo, scopes={"echo"}, timeout=60)

loads = Service("loads")
provers = Service("provers", trust="verified")
holds = Service("holds")
"""Apart, so that what is left in its queue disturbs nobody else."""


@loads.handles(opened)
@loads.handles(guarded)
@loads.handles(twinned)
@provers.handles(proven)
async def answer(request: Echo, context: Context) -> Echo:  # noqa: ARG001 - what a handler takes
    return request


@loads.handles(even)
async def answer_evenly(request: Echo, context: Context) -> Echo:  # noqa: ARG001 - what a handler takes
    return request


@loads.handles(mixed)
async def answer_some_slowly(request: Echo, context: Context) -> Echo:  # noqa: ARG001 - what a handler takes
    if random.random() < SLOW_SHARE:
        await asyncio.sleep(SLOW_SECONDS)
    return request


@loads.handles(busy)
async def answer_at_capacity(request: Echo, context: Context) -> Echo:  # noqa: ARG001 - what a handler takes
    await asyncio.sleep(BUSY_SECONDS)
    return request


@holds.handles(hold)
async def answer_never(request: Echo, context: Context) -> Echo:  # noqa: ARG001 - what a handler takes
    await asyncio.Event().wait()
    return request
