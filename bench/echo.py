"""The contract and the service of the benchmark: POST /echo {"a": int, "b": str} comes back as it is."""

from pydantic import BaseModel

from busgate.contracts import Call, http
from busgate.workers import Context, Service


class Echo(BaseModel):
    a: int
    b: str


say = Call("bench.echo.say.v1", http.post("/echo"), request=Echo, reply=Echo, scopes={"echo"})

echo = Service("echo")


@echo.handles(say)
async def answer(request: Echo, context: Context) -> Echo:  # noqa: ARG001 - what a handler takes
    return request
