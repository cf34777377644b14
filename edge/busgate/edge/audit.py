"""The audit of calls: who called what from where, what was decided and why, and what became of it.

A call only adds a tuple to a list; lines are made of it in batches. Nothing that a client or a worker says can forge
a line or break one in two. No header, no query and no body is in a record, unless a contract asks for bodies.
"""

import time
from collections.abc import Sequence
from json import dumps
from json.encoder import encode_basestring_ascii as quoted

from busgate.contracts import Caller, Catalog
from busgate.contracts.catalog import AnyCall
from busgate.contracts.secret import MASK, reply_secret_paths, secret_paths, shown

from .access import AccessDenied
from .audit_sinks import Line, Sink
from .batches import Batches
from .exchange import Exchange, Step
from .records import Clock
from .refusal import AUDIT_UNAVAILABLE, Refusal
from .shown_paths import ShownPaths

_RETRY = (("Retry-After", "1"),)
CUT = 200
"""Characters that are kept of a path variable and of a reason."""

# fmt: off
Note = tuple[
    float, float, bytes, bytes, Caller | None, str, str, str, str, str, tuple[str, ...], bool, str, str, Sequence[str],
    int, str, str, str, float | None, float | None, int, int, bytes, bytes,
]
# fmt: on
"""What `Audit.note` takes from an exchange, in the order of `_line`."""


class Audit:
    """The audit of one edge process.

    Args:
        catalog: what the edge serves.
        sink: where records go.
        name: of this process.
    """

    def __init__(self, catalog: Catalog, sink: Sink, *, name: str) -> None:
        self.sink = sink
        self.backlog = sink.backlog
        self._batches: Batches[Note] = Batches(self._take)
        self._contracts = {call.topic: _Contract(call) for call in catalog}
        self._paths = ShownPaths(catalog)
        self._name = name

    @property
    def unready(self) -> str | None:
        """Why calls are refused."""
        return "audit records cannot be written" if self._refuses else None

    @property
    def _refuses(self) -> bool:
        return self.backlog.lossless and self.backlog.full

    def admission(self) -> Step | None:
        """The step that refuses what could not be recorded; None where records may be lost."""
        if not self.backlog.lossless:
            return None

        def step(_: Exchange) -> None:
            if self.backlog.full:
                raise Refusal(AUDIT_UNAVAILABLE, headers=_RETRY)

        return step

    def note(self, exchange: Exchange, status: int, failure: str, *, outcome: str, refusal: Refusal | None) -> None:
        """Note a request that was answered. What found no contract and no fault, such as documentation, is no call."""
        if not exchange.topic and status < 400:
            return
        if refusal is not None and self._refuses:  # or a flood of refusals would fill the memory
            self.backlog.dropped += 1
            return
        request, caller, reply = exchange.request, exchange.caller, exchange.reply
        contract = self._contracts.get(exchange.topic)
        answer = b"" if (response := getattr(exchange, "response", None)) is None else response.body
        bodies = contract is not None and contract.bodies
        # fmt: off
        self._batches.add((
            exchange.started, self._batches.now() - exchange.started, request.id, exchange.traceparent,
            None if caller is None else caller.caller, "" if caller is None else caller.scheme,
            exchange.noted_address, request.message.method, exchange.topic, "" if contract else request.message.path,
            exchange.variables if contract else (), refusal is not None,
            "" if refusal is None else refusal.reason, _rule(exchange, refusal),
            () if refusal is None else refusal.violated, status, outcome, failure,
            "" if reply is None else reply.service, None if reply is None else reply.queued_ms,
            None if reply is None else reply.ran_ms,
            request.content.total_bytes, len(answer),
            getattr(exchange, "message", b"") if bodies else b"", answer if bodies else b"",
        ))
        # fmt: on

    async def start(self) -> None:
        """Raises AuditError or BusError where records cannot be written at all."""
        await self.sink.start()

    def flush(self) -> None:
        """Hand over what is noted."""
        self._batches.flush()

    async def close(self) -> None:
        """Write what there is, in bounded time."""
        self.flush()
        await self.sink.close()

    def _take(self, batch: Sequence[Note]) -> None:
        epoch = time.time() - self._batches.now()  # anew each time: the wall clock may have been set
        clock = Clock("%Y-%m-%dT%H:%M:%S", time.gmtime)
        self.sink.backlog.put([self._line(note, *clock.read(note[0] + epoch)) for note in batch])

    def _line(self, note: Note, second: str, millis: int) -> Line:
        # fmt: off
        (
            _, total, call_id, traceparent, caller, scheme, address, method, topic, path, variables, refused, reason,
            rule, limits, status, outcome, failure, service, queue_ms, ran_ms, sent, answered, request, reply,
        ) = note
        # fmt: on
        contract = self._contracts.get(topic)
        trace = (traceparent[3:35] or call_id).decode()
        more = "" if contract else f',"path":{quoted(self._paths.unserved(path))}'
        if contract and contract.bodies:
            more = contract.shown(request, reply, limit=self.sink.body_limit)
        subject, issuer, tenant = ("", "", "") if caller is None else (caller.subject, caller.issuer, caller.tenant)
        line = (
            f'{{"timestamp":"{second}.{millis:03d}Z","event":"audit","edge":{quoted(self._name)},'
            f'"call":"{call_id.decode()}","trace":"{trace}","caller":{quoted(subject)},"issuer":{quoted(issuer)},'
            f'"scheme":"{scheme}","tenant":{quoted(tenant)},"address":{quoted(address)},"method":{quoted(method[:CUT])},'
            f'"topic":"{topic}","route":{contract.route if contract else _NONE},'
            f'"variables":{contract.variables(variables) if contract and variables else "{}"},'
            f'"decision":"{"refused" if refused else "allowed"}","reason":{quoted(reason[:CUT])},'
            f'"rule":{quoted(rule)},"limits":[{",".join(map(quoted, limits))}],"status":{status},"outcome":"{outcome}",'
            f'"failure":{quoted(failure)},"service":{quoted(service)},'
            f'"total_ms":{total * 1000:.3f},"queue_ms":{_millis(queue_ms)},"ran_ms":{_millis(ran_ms)},'
            f'"request_bytes":{sent},"reply_bytes":{answered}{more}}}\n'
        )
        return refused, line.encode("ascii")


_NONE = '""'


def _millis(value: float | None) -> str:
    return "null" if value is None else f"{value:.3f}"


def _rule(exchange: Exchange, refusal: Refusal | None) -> str:
    """The access rule that decided: it let the request in, whatever became of it then, or it did not."""
    if refusal is not None and isinstance(refusal.__cause__, AccessDenied):
        return refusal.__cause__.rule
    return getattr(exchange, "rule", "")


class _Contract:
    """What records say of a contract, made once."""

    def __init__(self, call: AnyCall) -> None:
        self.route = quoted(call.http.path)
        self.bodies = call.audit_body
        self._request_secrets = secret_paths(call.request)
        self._reply_secrets = reply_secret_paths(call)
        hidden = frozenset(self._request_secrets)
        self._variables = [(quoted(name), name in hidden) for name in call.http.variables]

    def variables(self, values: Sequence[str]) -> str:
        """The path variables as an object, secret ones masked."""
        pairs = zip(self._variables, values, strict=True)
        return f"{{{','.join(f'{name}:{quoted(MASK if hide else value[:CUT])}' for (name, hide), value in pairs)}}}"

    def shown(self, request: bytes, reply: bytes, *, limit: int) -> str:
        """Request and answer as members of the record."""
        return (
            f',"request":{_body(request, self._request_secrets, limit)}'
            f',"reply":{_body(reply, self._reply_secrets, limit)}'
        )


def _body(body: bytes, secrets: Sequence[str], limit: int) -> str:
    if len(body) > limit:
        return f'"({len(body)} bytes)"'
    return dumps(shown(body, secrets), separators=(",", ":"))
