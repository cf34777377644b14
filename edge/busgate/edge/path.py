"""The path of a request, from the front door to the answer: one list, in one place, in this order.

Each contract's path is built once, at start; a step that a contract does not use is not there. A step takes the
exchange and changes it, or raises what ends it: a Refusal (the edge's own word), a CallFailed (no handler answered)
or a Problem (the handler's declared word).
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from busgate.bus import Bus, CallContext, Endpoint, Ids, Reply
from busgate.bus.wire import TYPE_PROBLEM, is_traceparent
from busgate.contracts import Call

from .authentication import authenticate, authoriser
from .binding import Binding
from .front_door import Head
from .negotiation import check_accept, check_content_type
from .refusal import BAD_REQUEST, Refusal
from .reply import ReplyReader
from .request import Request
from .response import Response, header_block
from .settings import EdgeSettings
from .tokens import TokenVerifier, VerifiedCaller


class Exchange:
    """One request on its way. Each step reads what earlier ones left here."""

    __slots__ = (
        "body",
        "caller",
        "head",
        "message",
        "reply",
        "request",
        "response",
        "started",
        "topic",
        "variables",
    )

    head: Head
    variables: tuple[str, ...]
    body: bytes
    message: bytes
    """The canonical JSON of the request, which is what travels."""
    response: Response

    def __init__(self, request: Request, started: float) -> None:
        self.request = request
        self.started = started
        self.topic = ""
        self.caller: VerifiedCaller | None = None
        self.reply: Reply | None = None


Step = Callable[[Exchange], Awaitable[None] | None]


def build_path(
    call: Call[Any, Any], *, settings: EdgeSettings, verifier: TokenVerifier, bus: Bus, ids: Ids
) -> list[Step]:
    """All steps between the route and the answer for one contract."""
    endpoint = bus.endpoint(call.topic, timeout=call.timeout)
    binding = Binding(call)
    path: list[Step | None] = [
        # Before the body: whoever may not call must not make us read, and a signature is checked on the head alone.
        None if call.public else _authenticate(verifier),
        _authorise(call),
        # Under overload, or without a bus, nobody's body is read for nothing.
        _admit(endpoint),
        # Cheap, on the head: no need to read a body that cannot be used or answered.
        _negotiate(body_required=binding.body_required),
        # Bounded in size here and in time by the connection.
        _read_body(min(call.max_body, settings.max_body)),
        # From here on nothing of the client's bytes is left, only what the contract says.
        _validate(binding),
        # The only wait that is not for the client.
        _call(endpoint, call.timeout, ids=ids, trust_trace=settings.trust_traceparent),
        # Nothing that the contract does not declare leaves the house.
        _answer(call),
    ]
    return [step for step in path if step is not None]


def _authenticate(verifier: TokenVerifier) -> Step:
    def step(exchange: Exchange) -> None:
        exchange.caller = authenticate(verifier, exchange.head.headers.get(b"authorization"))

    return step


def _authorise(call: Call[Any, Any]) -> Step | None:
    check = authoriser(call)
    if check is None:
        return None

    def step(exchange: Exchange) -> None:
        assert exchange.caller is not None
        check(exchange.caller)

    return step


def _admit(endpoint: Endpoint) -> Step:
    def step(_: Exchange) -> None:
        endpoint.admit()

    return step


def _negotiate(*, body_required: bool) -> Step:
    def step(exchange: Exchange) -> None:
        headers = exchange.head.headers
        accept = headers.get(b"accept")
        if accept is not None and accept != b"*/*":
            check_accept(accept.decode("latin-1"))
        content_type = headers.get(b"content-type")
        if content_type != b"application/json" and (body_required or _has_body(headers)):
            check_content_type(None if content_type is None else content_type.decode("latin-1"))

    return step


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


def _read_body(limit: int) -> Step:
    async def step(exchange: Exchange) -> None:
        exchange.body = await exchange.request.read(limit)

    return step


def _validate(binding: Binding) -> Step:
    bind = binding.bind

    def step(exchange: Exchange) -> None:
        head = exchange.head

        def values(name: str) -> tuple[str, ...]:
            value = head.headers.get(name.lower().encode())
            return () if value is None else (value.decode("utf-8", "surrogateescape"),)  # binding refuses the rest

        exchange.message = bind(exchange.body, variables=exchange.variables, query=head.query, headers=values)

    return step


def _call(endpoint: Endpoint, timeout: float, *, ids: Ids, trust_trace: bool) -> Step:
    async def step(exchange: Exchange) -> None:
        headers = exchange.head.headers
        call_id = exchange.request.id
        caller = exchange.caller
        prefer = headers.get(b"prefer")
        context = CallContext(
            call_id,
            (_continued(headers, ids) if trust_trace else None) or b"00-%b-%b-01" % (call_id, ids.take(16)),
            b"" if caller is None else caller.header,
        )
        budget = timeout if prefer is None else _preferred(prefer, timeout)
        exchange.reply = await endpoint.call(exchange.message, context, budget)

    return step


def _continued(headers: dict[bytes, bytes], ids: Ids) -> bytes | None:
    """The client's trace with a span of our own, or None where it sent none that is well-formed."""
    value = headers.get(b"traceparent", b"")
    if not is_traceparent(value.decode("latin-1")):
        return None
    return b"00-%b-%b-%b" % (value[3:35], ids.take(16), value[53:55])


_WAIT = re.compile(rb"(?:^|,)\s*wait\s*=\s*\"?([0-9]{1,6})\"?\s*(?=[;,]|$)", re.IGNORECASE)


def _preferred(prefer: bytes, timeout: float) -> float:
    """The budget with `Prefer: wait=N` (RFC 7240): lowered by it, never raised.

    Raises:
        Refusal: it asks for no time at all.
    """
    wait = _WAIT.search(prefer)
    if wait is None:
        return timeout
    if int(wait[1]) == 0:
        raise Refusal(BAD_REQUEST, "Prefer: wait=0 leaves no time for a call")
    return min(timeout, float(wait[1]))


def _answer(call: Call[Any, Any]) -> Step:
    reader = ReplyReader(call)
    status = call.http.status

    def step(exchange: Exchange) -> None:
        reply = exchange.reply
        assert reply is not None
        if reply.type == TYPE_PROBLEM:
            raise reader.problem(reply.body, service=reply.service)
        body, location = reader.reply(reply.body)
        headers = b"" if location is None else header_block((("Location", location),))
        exchange.response = Response(status, body, headers=headers)

    return step
