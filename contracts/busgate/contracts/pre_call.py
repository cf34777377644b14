"""The contract of a service that decides who calls: the edge asks it before a call, and remembers what it says.

decide = pre_call("auth.decide.v1")

@auth.handles(decide)
async def look(question: PreCallQuestion, context: Context) -> PreCallVerdict:
session = await sessions.find(question.headers.get("x-session", ""))
if session is None:
return PreCallVerdict(allowed=False)
return PreCallVerdict(allowed=True, subject=session.user, scopes=["orders:read"], seconds=60)
"""

from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, model_validator

from . import http
from .call import Call
from .secret import Secret


class PreCallQuestion(BaseModel):
    """What the edge asks.

    Attributes:
        topic: of the contract that is to be called.
        address: of the client; empty where there is none.
        headers: those of the request that the edge was told to show, by their lower-case names.
    """

    topic: str
    address: str = ""
    headers: Annotated[dict[str, str], Secret()] = {}


class PreCallVerdict(BaseModel):
    """What the service decides.

    Attributes:
        allowed: whether the headers prove anything. False is 401 for the client.
        subject: who it is; needed where it is allowed.
        scopes: what the caller is granted.
        roles: what the caller is.
        tenant: on whose behalf the caller acts.
        claims: what else the services may know.
        seconds: for how long the edge need not ask again for the same headers, address and topic.
    """

    allowed: bool
    subject: str = Field("", max_length=256)
    scopes: list[str] = []
    roles: list[str] = []
    tenant: str = ""
    claims: dict[str, Any] = {}
    seconds: float = Field(0.0, ge=0, le=86400)

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.allowed and not (self.subject and self.subject.isprintable()):
            raise ValueError("whoever is allowed has a subject, without control characters")
        return self


def pre_call(topic: str, *, timeout: float = 2.0) -> Call[PreCallQuestion, PreCallVerdict]:
    """The contract by which a service decides who calls. It is for the bus: no edge serves it over HTTP.

    Args:
        topic: as in any contract; `edge.pre_call.topic` names it.
        timeout: seconds that the service has.

    Raises:
        ContractError: the topic is none.
    """
    return Call(topic, http.post("/pre-call"), request=PreCallQuestion, reply=PreCallVerdict, timeout=timeout)
