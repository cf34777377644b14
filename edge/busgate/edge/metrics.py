"""Metrics of the edge.

They cost nothing on the hot path: requests are counted from the batches of their records, all else is read
when somebody looks. Labels come from the contracts and from fixed lists: no client can make new series.
"""

from collections.abc import Collection, Iterator

from busgate.bus import Bus
from busgate.bus.exposition import Histogram, family, histograms, labels, one
from busgate.bus.metrics import of_bus, of_endpoints

from .audit import Audit
from .door import Door
from .line_writer import LineWriter
from .records import Batch, Recorder
from .server import GateServer
from .tls.server import ServerTls

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class CallMetrics:
    """What the records of all requests add up to. Topic "" is requests that no contract was found for."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int, str, str], int] = {}
        """By topic, method, status, outcome and failure."""
        self.total: dict[str, Histogram] = {}
        self.queue: dict[str, Histogram] = {}
        self.ran: dict[str, Histogram] = {}

    def take(self, batch: Batch) -> None:
        """Add these records."""
        requests = self.requests
        for _, total_ms, method, _, topic, _, status, outcome, failure, queue_ms, ran_ms, *_ in batch:
            key = (topic, method if method in METHODS else "other", status, outcome, failure)
            requests[key] = requests.get(key, 0) + 1
            _histogram(self.total, topic).observe(total_ms)
            if queue_ms is not None:
                _histogram(self.queue, topic).observe(queue_ms)
            if ran_ms is not None:
                _histogram(self.ran, topic).observe(ran_ms)


def _histogram(known: dict[str, Histogram], topic: str) -> Histogram:
    found = known.get(topic)
    if found is None:
        found = known[topic] = Histogram()
    return found


class EdgeMetrics:
    """Everything that one edge process counts.

    Args:
        bus: its calls.
        server: its connections.
        door: its tokens, the keys of their issuers, its limits and their store.
        recorder: to have the last requests counted too.
        calls: a taker of that recorder.
        lines: where records are written; None where they are not.
        audit: of its calls; None where there is none.
        mocked: topics that are answered by examples.
        tls: its certificates, where it speaks TLS.
    """

    def __init__(
        self,
        *,
        bus: Bus,
        server: GateServer,
        door: Door,
        recorder: Recorder,
        calls: CallMetrics,
        lines: LineWriter | None = None,
        audit: Audit | None = None,
        mocked: Collection[str] = (),
        tls: ServerTls | None = None,
    ) -> None:
        self._bus = bus
        self._server = server
        self._door = door
        self._recorder = recorder
        self._calls = calls
        self._lines = lines
        self._audit = audit
        self._mocked = mocked
        self._tls = tls

    def render(self) -> Iterator[str]:
        """All metrics now, in pieces: other work may be done in between, for ten thousand topics are 40 MB."""
        self._recorder.flush()
        yield from self._of_requests()
        yield from self._of_connections()
        yield from self._of_issuers()
        yield from self._of_questions()
        yield from self._of_limits()
        yield from self._of_audit()
        mocked = ((labels(topic=topic), 1) for topic in self._mocked)
        yield from family("mocked", "1 for a topic that is answered by examples, not by a service.", mocked)
        yield from self._of_signing()
        yield from self._of_api_keys()
        yield from _of_tls(self._tls)
        yield from of_endpoints(self._bus.endpoint(topic) for topic in self._calls.total if topic)
        yield from of_bus(self._bus)

    def _of_requests(self) -> Iterator[str]:
        calls = self._calls
        names = ("topic", "method", "status", "outcome", "failure")
        requests = (
            (labels(**dict(zip(names, key, strict=True))), count) for key, count in list(calls.requests.items())
        )
        yield from family(
            "requests_total", "Requests answered, by topic, method, status, outcome and failure.", requests
        )
        yield from histograms("request_duration_seconds", "From a request to its answer, by topic.", calls.total)
        yield from histograms(
            "queue_wait_seconds", "Waited beside the handler's time: in queues and on the way, by topic.", calls.queue
        )
        yield from histograms("handler_duration_seconds", "Ran in the handler, by topic.", calls.ran)
        if self._lines is not None:
            dropped = self._lines.dropped
            yield from one("records_dropped_total", "Lines of records that the stream did not take.", dropped)

    def _of_connections(self) -> Iterator[str]:
        server = self._server
        refused = ((labels(failure=kind), count) for kind, count in list(server.refused.items()))
        yield from one("connections", "Client connections that are open.", len(server))
        text = "Connections ended because of what was no whole request, or too many, by failure."
        yield from family("refused_total", text, refused)
        yield from one("connections_cut_total", "Connections cut without an answer.", server.dropped)
        yield from one("draining", "1 while this process ends.", int(server.draining))

    def _of_issuers(self) -> Iterator[str]:
        yield from one("tokens_remembered", "Verified tokens in memory.", len(self._door.tokens))
        sources = {labels(issuer=source.issuer, url=source.url): source for source in self._door.issuer_keys.sources}
        fetches = ((label, source.fetches) for label, source in sources.items())
        failures = ((label, source.failures) for label, source in sources.items())
        keys = ((label, len(source.keys)) for label, source in sources.items())
        ages = ((label, source.age) for label, source in sources.items())
        yield from family("jwks_fetches_total", "Looks at the address of an issuer's keys.", fetches)
        yield from family("jwks_failures_total", "Looks that gave no keys.", failures)
        yield from family("jwks_keys", "Keys from that address that are in use.", keys)
        yield from family("jwks_age_seconds", "Since the last look that gave keys; +Inf before the first.", ages)

    def _of_questions(self) -> Iterator[str]:
        door = self._door
        asking = {"introspection": door.introspector, "pre-call": door.pre_call}
        known = {labels(scheme=scheme): each for scheme, each in asking.items() if each is not None}
        yield from family(
            "credential_questions_total",
            "Questions to others about who calls, by scheme (introspection, pre-call).",
            ((label, each.asked) for label, each in known.items()),
        )
        yield from family(
            "credential_failures_total",
            "Questions to others about who calls without a usable answer, by scheme.",
            ((label, each.failed) for label, each in known.items()),
        )
        yield from family(
            "credential_refused_total",
            "Requests refused because too many such questions were under way, by scheme.",
            ((label, each.refused) for label, each in known.items()),
        )

        shared = None if door.introspector is None else door.introspector.shared
        yield from one(
            "verdicts_shared_total",
            "Opaque tokens that the issuer was not asked about, because the store had its word.",
            0 if shared is None else shared.found,
        )
        yield from one(
            "verdicts_refused_total",
            "Values of the store that were no verdict of this configuration: somebody else writes there.",
            0 if shared is None else shared.refused,
        )

        watch = door.key_watch
        unfit = "Keys of callers that are refused, because no plan has the name of theirs."
        yield from one("api_keys_without_plan", unfit, 0 if watch is None else watch.without_plan)

    def _of_limits(self) -> Iterator[str]:
        counts, store = self._door.limits.counts, self._door.store
        refused = ((labels(limit=name), count) for name, count in list(counts.refused.items()))
        yield from family("limited_total", "Requests that a limit did not let through, by limit.", refused)
        leases = self._door.limits.leases
        held = "Places of limits of requests at a time that this process has among those of all."
        yield from one("places_held", held, 0 if leases is None else len(leases))
        unchecked = "Requests let through uncounted, because the store could not be asked."
        yield from one("limits_unchecked_total", unchecked, counts.unchecked)
        yield from one("store_up", "1 while the store of limits and nonces can be used.", int(store.unready is None))
        yield from one("store_failures_total", "Times that the store could not be used.", store.health.failures)

    def _of_audit(self) -> Iterator[str]:
        if self._audit is None:
            return
        self._audit.flush()
        backlog = self._audit.backlog
        yield from one("audit_records_total", "Audit records that were written.", backlog.written)
        yield from one("audit_dropped_total", "Audit records that were dropped.", backlog.dropped)
        yield from one("audit_waiting_bytes", "Of audit records that wait to be written.", backlog.waiting)
        failing = int(backlog.failing is not None)
        yield from one("audit_failing", "1 while audit records cannot be written.", failing)

    def _of_signing(self) -> Iterator[str]:
        keys, signer = self._door.signing_keys, self._door.signer
        made, published, failures = 0, 0, 0
        if keys is not None and signer is not None:
            made, published, failures = signer.made, len(keys), keys.failures
        yield from one("signatures_total", "Signatures of callers that were made.", made)
        yield from one("signing_keys", "Keys that are published, to verify signatures of callers.", published)
        yield from one("signing_keys_unfit_total", "Looks that found the signing keys unfit.", failures)

    def _of_api_keys(self) -> Iterator[str]:
        watch = self._door.key_watch
        fault = int(watch is not None and watch.fault is not None)
        yield from one(
            "api_keys_fault", "1 while what stands in the file of API keys is not used: it is no good.", fault
        )


def _of_tls(tls: ServerTls | None) -> Iterator[str]:
    watched = [] if tls is None else [(labels(file=each.files[0]), each) for each in tls.watched]
    ends = [] if tls is None else [(labels(file=file), end) for file, end in tls.ends.items()]
    lists = [] if tls is None else [(labels(file=file), end) for file, end in tls.lists_end.items()]
    failed = [] if tls is None else [(labels(reason=reason), count) for reason, count in tls.failed.items()]
    lives = ((label, each.value.life) for label, each in watched)
    faults = ((label, int(each.fault is not None)) for label, each in watched)
    reloads = ((label, each.reloads) for label, each in watched)
    yield from family("certificate_end_seconds", "Since 1970, when what is in use of a file ends.", ends)
    yield from family("certificate_life_seconds", "Seconds for which that was made.", lives)
    yield from family(
        "revocation_list_end_seconds", "Since 1970, when the revocation lists that are in use end.", lists
    )
    yield from family("certificate_fault", "1 while what stands in a file is not used: it is no good.", faults)
    yield from family("certificate_reloads_total", "Changes of a file that are in use.", reloads)
    yield from family("tls_handshakes_failed_total", "Handshakes without a connection after them, by reason.", failed)
