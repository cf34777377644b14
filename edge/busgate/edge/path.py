"""The path of a request, from the front door to the answer: one list, in one place, in this order.

Each contract's path is built once, at start; a step that a contract does not use is not there. A step takes the
exchange and changes it, or raises what ends it: a Refusal (the edge's own word), a CallFailed (no handler answered)
or a Problem (the handler's declared word).
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from busgate.bus import Bus, CallContext, Endpoint, Ids
from busgate.bus.tables import is_like
from busgate.bus.wire import TYPE_PROBLEM, is_traceparent
from busgate.contracts import Call, CallFailed
from busgate.contracts.failure import BAD_REPLY

from .audit import Audit
from .binding import Binding
from .cors import CorsPolicy
from .door import Door
from .exchange import Exchange, Step
from .foreign_pages import foreign_pages
from .front_door import has_body
from .header_rules import request_rules
from .mocks import answer_by_example
from .negotiation import check_accept, check_content_type
from .refusal import BAD_REQUEST, Refusal
from .reply import ReplyReader
from .response import Response, header_block
from .settings import EdgeSettings
from .signing import Sign


class Tracing(Protocol):
    """What tracing adds to a path."""

    def begin(self, exchange: Exchange) -> None:
        """A step: give the request its place in a trace."""

    def traceparent(self, exchange: Exchange) -> bytes:
        """The header of the call, which is sent now."""


def build_path(
    call: Call[Any, Any],
    *,
    settings: EdgeSettings,
    door: Door,
    bus: Bus,
    ids: Ids,
    audit: Audit | None,
    tracing: Tracing | None,
    pages: CorsPolicy | None,
) -> list[Step]:
    """All steps between the route and the answer for one contract."""
    traceparent: Callable[[Exchange], bytes]
    if tracing is not None:
        traceparent = tracing.traceparent
    else:
        traceparent = _continued_trace(ids) if settings.trust_traceparent else _new_trace(ids)
    endpoint = bus.endpoint(call.topic, timeout=call.timeout)
    binding = Binding(call)
    mocked = is_like(call.topic, settings.mock)
    path: list[Step | None] = [
        # Before anything can refuse it: what is refused is traced too.
        None if tracing is None else tracing.begin,
        # Where it cannot be told who calls, nothing is done: the audit would name the proxy, and so would rules.
        door.whereabouts(),
        *door.in_one_question(
            call,
            [
                # Before any credential: to check one costs more than to send one.
                door.address_check(call),
                *door.limits.before_authentication(call),
                # Before the body: whoever may not call must not make us read; a signature is checked on the head alone.
                door.authentication(call),
                # A credential that came by itself is no word of its owner's.
                foreign_pages(call, pages, ambient=door.ambient),
                door.authorisation(call),
                # Whoever may not call uses up nothing of what a caller has.
                *door.limits.of_callers(call),
            ],
        ),
        # Under overload, or without a bus, nobody's body is read for nothing.
        None if audit is None else audit.admission(),
        None if mocked else _admit(endpoint),
        # Cheap, on the head: no need to read a body that cannot be used or answered.
        _negotiate(body_required=binding.body_required),
        # Bounded in size here and in time by the connection.
        _read_body(min(call.max_body, settings.max_body)),
        # Over the body and headers that the client sent, before anybody reads a meaning into them.
        door.content_check(call),
        # The last word on headers is the operator's, not the client's.
        request_rules(settings.headers, call),
        # From here on nothing of the client's bytes is left, only what the contract says.
        _validate(binding),
        # The only wait that is not for the client.
        answer_by_example(call) if mocked else _call(endpoint, call.timeout, traceparent, door.signature(call)),
        # Nothing that the contract does not declare leaves the house.
        _answer(call, endpoint),
    ]
    return [step for step in path if step is not None]


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
        if content_type != b"application/json" and (body_required or has_body(headers)):
            check_content_type(None if content_type is None else content_type.decode("latin-1"))

    return step


def _read_body(limit: int) -> Step:
    async def read(exchange: Exchange) -> None:
        exchange.body = await exchange.request.read(limit)

    def step(exchange: Exchange) -> Awaitable[None] | None:
        if not exchange.request.arrived:
            return read(exchange)
        exchange.body = exchange.request.take(limit)  # most bodies come with their head: no coroutine for them
        return None

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


def _call(endpoint: Endpoint, timeout: float, traceparent: Callable[[Exchange], bytes], signature: Sign | None) -> Step:
    async def step(exchange: Exchange) -> None:
        caller = exchange.caller
        prefer = exchange.head.headers.get(b"prefer")
        budget = timeout if prefer is None else _preferred(prefer, timeout)
        exchange.traceparent = traceparent(exchange)
        context = CallContext(exchange.request.id, exchange.traceparent, b"" if caller is None else caller.header)
        if signature is not None:
            context.jws = signature(exchange)
        exchange.reply = await endpoint.call(exchange.message, context, budget)

    return step


def _new_trace(ids: Ids) -> Callable[[Exchange], bytes]:
    def traceparent(exchange: Exchange) -> bytes:
        return b"00-%b-%b-01" % (exchange.request.id, ids.take(16))

    return traceparent


def _continued_trace(ids: Ids) -> Callable[[Exchange], bytes]:
    """The client's trace with a span of our own, or a new one where it sent none that is well-formed."""
    new = _new_trace(ids)

    def traceparent(exchange: Exchange) -> bytes:
        value = exchange.head.headers.get(b"traceparent", b"")
        if not is_traceparent(value.decode("latin-1")):
            return new(exchange)
        return b"00-%b-%b-%b" % (value[3:35], ids.take(16), value[53:55])

    return traceparent


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


def _answer(call: Call[Any, Any], endpoint: Endpoint) -> Step:
    reader = ReplyReader(call)
    status = call.http.status

    def step(exchange: Exchange) -> None:
        reply = exchange.reply
        assert reply is not None
        try:
            if reply.type == TYPE_PROBLEM:
                raise reader.problem(reply.body, service=reply.service)
            body, location = reader.reply(reply.body)
        except CallFailed as failure:
            if failure.kind is BAD_REPLY:
                endpoint.refuse_reply(exchange.request.id, failure)
            raise
        headers = b"" if location is None else header_block((("Location", location),))
        exchange.response = Response(status, body, headers=headers)

    return step
