"""Contracts made to be broken: each request carries a nonce, by which answers and executions are matched."""

from typing import Literal

from pydantic import BaseModel, Field

from busgate.contracts import Call, Catalog, Problem, http

SCOPE = "probe"


class Ask(BaseModel):
    nonce: str
    ms: int = Field(0, ge=0, le=60_000)
    """How long the handler works."""


class Told(BaseModel):
    nonce: str
    caller: str
    pid: int


class Order(BaseModel):
    nonce: str
    how: Literal["crash", "decline", "improvise", "hang", "die", "lie", "swell", "block"]


class Errand(BaseModel):
    nonce: str
    to: Literal["order", "nowhere", "late", "itself"]


class Declined(Problem):
    """The service says no."""

    status = 409
    left: int


class Improvised(Problem):
    """A problem that no contract declares."""

    status = 418


read = Call("probe.read.v1", http.get("/read/{nonce}"), request=Ask, reply=Told, scopes={SCOPE}, timeout=10)
"""May run again after a redelivery, as every GET."""

write = Call("probe.write.v1", http.post("/write", status=201), request=Ask, reply=Told, scopes={SCOPE}, timeout=10)
"""Refuses a redelivery, as every POST."""

obey = Call(
    "probe.obey.v1", http.post("/obey"), request=Order, reply=Told, errors=[Declined], scopes={SCOPE}, timeout=1
)
"""Fails in the way that it is told to."""

send = Call("probe.send.v1", http.post("/send"), request=Errand, reply=Told, scopes={SCOPE}, timeout=3)
"""Calls other contracts, and lets pass what they raise."""

nowhere = Call("probe.nowhere.v1", http.get("/nowhere/{nonce}"), request=Ask, reply=Told, scopes={SCOPE})
"""Nobody serves it."""

skewed = Call("probe.skewed.v1", http.post("/skewed"), request=Ask, reply=Told, scopes={SCOPE})
"""Its worker knows another version of the request."""

lied = Call("probe.lied.v1", http.post("/lied"), request=Ask, reply=Told, errors=[Declined], scopes={SCOPE}, timeout=2)
"""Served by a worker in no framework, which says what the test wants."""

CATALOG = Catalog([read, write, obey, send, nowhere, skewed, lied])
RERUN = frozenset({read.topic})
"""Topics whose calls may be executed more than once."""
