"""The table [edge]: where to listen, what to serve, and the limits of the front door."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from busgate.bus.admin_table import AdminTable
from busgate.bus.tables import Authorities, Names, Port, Table
from busgate.bus.wire import MAX_MESSAGE
from busgate.contracts import Catalog
from busgate.contracts.openapi import TITLE, VERSION

from .access_rules import AcceptRule, AccessRule, accepted
from .api_keys.settings import ApiKeySettings
from .audit_settings import AuditSettings
from .claims import is_scope
from .client_address import AddressHeader
from .cors import CorsSettings
from .error_documents import ErrorSettings, document_faults
from .header_rules import HeaderSettings, headers_read, rule_faults
from .introspection import IntrospectionSettings
from .issuers import IssuerSettings
from .limits import DoorLimits
from .metering.settings import ConcurrentSettings, Limits, PlanSettings, QuotaSettings, RateSettings
from .mocks import mock_faults
from .networks import Networks
from .places import idle_faults
from .pre_call import PreCallSettings
from .security_headers import SecurityHeaderSettings
from .signatures.settings import SignatureSettings
from .signing_keys import SigningSettings
from .stores.settings import StoreSettings
from .tls.settings import EdgeTlsSettings
from .tokens import REMEMBERED

_DOOR = DoorLimits()
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")

SCHEMES = frozenset({"jwt", "introspection", "signature", "key", "certificate", "pre-call"})
"""How a caller may prove who it is. Contracts and [[edge.accept]] name them."""

DOCS_PATH = "/docs"
DOCUMENT_PATH = "/openapi.json"


def _modules(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not _MODULE.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a module, like shop.contracts")
    return names


class LimitSettings(Table):
    """The table [edge.limits]: what one client can take.

    Args:
        connections: connections open at a time, in one process.
        connections_per_address: of those, from one address. Raise it to `connections` behind a load balancer.
        first_byte: seconds from the opening of a connection to the first byte of a request.
        header: seconds from the first byte of a request to the end of its headers.
        body: seconds for a whole body.
        body_rate: bytes per second that a body, or a client that takes an answer, must keep up.
        keep_alive: seconds from an answer to the next request; more than a load balancer's in front.
        write: seconds for a client to take a whole answer.
        age: seconds after which a connection ends with its next answer, so that who it was opened for is asked anew.
        header_bytes: of a request line and all its headers.
    """

    connections: int = Field(_DOOR.connections, ge=1, le=1_000_000)
    connections_per_address: int = Field(_DOOR.connections_per_address, ge=1, le=1_000_000)
    first_byte: float = Field(_DOOR.first_byte, gt=0, le=300)
    header: float = Field(_DOOR.head, gt=0, le=300)
    body: float = Field(_DOOR.body, gt=0, le=3600)
    body_rate: int = Field(_DOOR.min_rate, ge=1, le=1_000_000)
    keep_alive: float = Field(_DOOR.keep_alive, gt=0, le=3600)
    write: float = Field(_DOOR.write, gt=0, le=3600)
    age: float = Field(_DOOR.age, gt=0, le=7 * 24 * 3600)
    header_bytes: int = Field(_DOOR.head_bytes, ge=1024, le=1024 * 1024)


class AdminSettings(AdminTable):
    """The table [edge.admin]: the listener for the operator (health, metrics, tap). Keep it from the world.

    Args:
        host: address to listen on.
        port: port to listen on. Each process of the edge has its own: the first this one, the second the next.
        hosts: names that requests may use for it in `Host`, beside addresses and localhost.
        enabled: whether there is one.
    """

    enabled: bool = True
    port: Port = 8081


class DocsSettings(Table):
    """The table [edge.docs]: /docs and /openapi.json, for everybody who reaches the edge.

    Args:
        enabled: whether there are any; with more than 2000 contracts there are none.
        title: of the API.
        version: of the API, as its clients count it.
        description: CommonMark for the head of the page: what the API is for, who gives out tokens.
    """

    enabled: bool = True
    title: str = Field(TITLE, min_length=1)
    version: str = Field(VERSION, min_length=1)
    description: str = ""


class EdgeSettings(Table):
    """The table [edge]: where to listen, what to serve, and to whom.

    Args:
        host: address to listen on.
        port: port to listen on; 0 is any free one.
        processes: how many serve it.
        contracts: modules that hold the contracts to serve.
        hosts: authorities that requests may name in `Host`; none listed is any.
        trusted_proxies: networks (CIDR, or addresses) of proxies that say truly who called them.
        address_header: the header in which they say it; the other one is not read. Whoever sets it must take off
            what came in from outside, or add to it at its end.
        tls: speak TLS; without it, a proxy in front has to.
        jwt: who may issue tokens: tables [[edge.jwt]].
        introspection: who is asked about opaque tokens.
        pre_call: a service that decides who calls.
        accept: how callers may prove who they are, where that differs: tables [[edge.accept]].
        access: who may use which contracts, from where: tables [[edge.access]].
        access_default: what holds for a contract that no rule allows anything of: `contract`, whoever has its scopes
            may use it, or `deny`.
        store: where its processes remember together.
        rate: at most so many requests in a time: tables [[edge.rate]].
        quota: at most so many requests in a day or month: tables [[edge.quota]].
        concurrent: at most so many requests at a time: tables [[edge.concurrent]].
        plan: limits that go together, and who has them: tables [[edge.plan]].
        signing: sign callers for the services.
        signature: who may sign requests, and how.
        api_keys: where the API keys are.
        remembered_tokens: verified tokens to keep in memory, about 2 kB each.
        max_body: the most bytes of a request body, whatever its contract allows.
        drain_grace: seconds for what is in flight when the process is told to stop.
        trust_traceparent: continue the trace of the client. Off, its traceparent is only noted.
        expose_service_names: say in answers which service failed.
        server_timing: send Server-Timing.
        docs: the documentation of the API.
        admin: the operator's listener.
        limits: of the front door.
        audit: who called what, what was decided, and what became of it.
        cors: pages of which origins may call: tables [[edge.cors]].
        security_headers: what browsers are told on every answer.
        headers: headers by rule: tables [[edge.headers]].
        mock: patterns of topics that the edge answers itself, by the examples of their contracts; `*` is any text.
        errors: what failures look like to clients that do not take problem documents: tables [[edge.errors]].
    """

    host: str = Field("127.0.0.1", min_length=1)
    port: Port = 8080
    processes: int = Field(1, ge=1, le=256)
    contracts: Annotated[Names, AfterValidator(_modules)] = ()
    hosts: Authorities = ()
    trusted_proxies: Networks = ()
    address_header: AddressHeader = "X-Forwarded-For"
    tls: EdgeTlsSettings | None = None
    jwt: tuple[IssuerSettings, ...] = ()
    introspection: IntrospectionSettings | None = None
    pre_call: PreCallSettings | None = None
    accept: tuple[AcceptRule, ...] = ()
    access: tuple[AccessRule, ...] = ()
    access_default: Literal["contract", "deny"] = "contract"
    store: StoreSettings = StoreSettings()
    rate: tuple[RateSettings, ...] = ()
    quota: tuple[QuotaSettings, ...] = ()
    concurrent: tuple[ConcurrentSettings, ...] = ()
    plan: tuple[PlanSettings, ...] = ()
    signing: SigningSettings = SigningSettings()
    signature: SignatureSettings = SignatureSettings()
    api_keys: ApiKeySettings = ApiKeySettings()
    remembered_tokens: int = Field(REMEMBERED, ge=0, le=10_000_000)
    max_body: int = Field(MAX_MESSAGE, ge=1, le=MAX_MESSAGE)
    drain_grace: float = Field(30.0, ge=0, le=3600)
    trust_traceparent: bool = False
    expose_service_names: bool = False
    server_timing: bool = False
    docs: DocsSettings = DocsSettings()
    admin: AdminSettings = AdminSettings()
    limits: LimitSettings = LimitSettings()
    audit: AuditSettings = AuditSettings()
    cors: tuple[CorsSettings, ...] = ()
    security_headers: SecurityHeaderSettings = SecurityHeaderSettings()
    headers: tuple[HeaderSettings, ...] = ()
    mock: Names = ()
    errors: tuple[ErrorSettings, ...] = ()

    @property
    def schemes(self) -> frozenset[str]:
        """How callers may prove who they are."""
        configured = {
            "jwt": self.jwt,
            "introspection": self.introspection,
            "certificate": self.tls and self.tls.clients,
            "signature": self.signature.keys,
            "key": self.api_keys.file,
            "pre-call": self.pre_call,
        }
        return frozenset(name for name, table in configured.items() if table)

    @property
    def call_limits(self) -> Limits:
        """How often callers may call."""
        return Limits(rate=self.rate, quota=self.quota, concurrent=self.concurrent, plan=self.plan)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        rules = [rule.name for rule in self.access]
        if len(set(rules)) != len(rules):
            raise ValueError("two tables of access have one name")
        names = [issuer.issuer for issuer in self.jwt]
        if len(set(names)) != len(names):
            raise ValueError("two tables of jwt have one issuer; give it several keys instead")
        if self.admin.enabled:
            ports = self.admin.check("edge.admin", self.processes)
            if self.host == self.admin.host and self.port in ports:
                raise ValueError("edge and edge.admin cannot listen on one port")
        return self


_FORGETFUL = (
    "edge.signature: with memory:// a restart forgets the nonces, and a request that was overheard can be sent again: "
    'set edge.store.url = "sqlite:///var/lib/busgate/store.db", or say edge.signature.forget_nonces = true'
)


def is_docs_path(path: str) -> bool:
    """Whether a path is the documentation's, where there is any."""
    return path in (DOCS_PATH, DOCUMENT_PATH) or path.startswith(DOCS_PATH + "/")


def faults_with(settings: EdgeSettings, catalog: Catalog) -> list[str]:
    """Why an edge with these settings must not serve these contracts, in a line each; none when it may."""
    closed = [call.topic for call in catalog if not call.public]
    configured = settings.schemes
    faults = []
    if closed and not configured:
        faults.append(
            f"edge.jwt: no issuer of tokens, but {len(closed)} contracts need authentication ({closed[0]}): "
            "add [[edge.jwt]] or another scheme (docs/security.md), or say public=True in the contracts"
        )
    faults += _faults_of_access(settings, catalog)
    faults += settings.call_limits.faults(catalog)
    faults += settings.api_keys.faults({plan.name for plan in settings.plan})
    faults += settings.store.faults() + _faults_of_sharing(settings) + _faults_of_claims(settings)
    faults += [
        f"contract {call.topic}: no token can grant the scope {scope!r} (RFC 6749, 3.3)"
        for call in catalog
        for scope in sorted(call.scopes)
        if not is_scope(scope)
    ]
    faults += [
        f"contract {call.topic}: {call.http.path} is where the documentation of the API is; "
        "choose another path, or set edge.docs.enabled = false"
        for call in catalog
        if settings.docs.enabled and is_docs_path(call.http.path)
    ]
    faults += idle_faults("edge.cors", settings.cors, catalog)
    faults += idle_faults("edge.headers", settings.headers, catalog)
    faults += rule_faults(settings.headers, catalog)
    faults += _faults_of_tls_headers(settings)
    faults += document_faults(settings.errors, catalog)
    faults += mock_faults(settings.mock, catalog)
    return faults


def _faults_of_access(settings: EdgeSettings, catalog: Catalog) -> list[str]:
    """Rules that are about nothing, and contracts for which nobody could prove who they are."""
    configured = settings.schemes
    faults = [
        f"edge.access: the rule {rule.name} is about {pattern!r}, which no contract is like"
        for rule in settings.access
        for pattern in rule.covers_none_of(catalog)
    ]
    for number, rule in enumerate(settings.accept):
        faults += [
            f"edge.accept.{number}: about {pattern!r}, which no contract is like"
            for pattern in rule.covers_none_of(catalog)
        ]
        if unknown := sorted(set(rule.schemes) - SCHEMES):
            faults.append(f"edge.accept.{number}: no scheme {unknown[0]!r}; there are: {', '.join(sorted(SCHEMES))}")
    for call in catalog:
        if settings.pre_call is not None and call.topic == settings.pre_call.topic:
            faults.append(f"contract {call.topic}: it decides who calls, so no client may call it: leave it out here")
        if "key" in configured and settings.api_keys.header.lower() in headers_read(call):
            faults.append(
                f"contract {call.topic}: it reads the header {settings.api_keys.header}, which is for keys here: "
                "they would travel to services; rename one of them"
            )
        if configured and not call.public and not accepted(call, settings.accept, configured):
            named = f" ({', '.join(sorted(call.schemes))})" if call.schemes else ""
            faults.append(
                f"contract {call.topic}: none of its schemes{named} is configured here; "
                f"those are: {', '.join(sorted(configured))}"
            )
    return faults


def _faults_of_sharing(settings: EdgeSettings) -> list[str]:
    """What several processes must remember together, where each would remember on its own."""
    needed = [f"edge.{name}" for name in settings.call_limits.counted]
    if "signature" in settings.schemes:
        needed.append("the nonces of signatures")
    if not needed or not settings.store.in_memory:
        return []
    if settings.processes == 1:
        return [_FORGETFUL] if settings.signature.keys and not settings.signature.forget_nonces else []
    fault = (
        f"edge.store.url: {settings.processes} processes would each count {' and '.join(needed)} on their own in "
        'memory://; use url = "sqlite:///var/lib/busgate/store.db" on one machine, redis:// on several, '
        "or edge.processes = 1"
    )
    return [fault]


def _faults_of_tls_headers(settings: EdgeSettings) -> list[str]:
    """Rules for a header that goes with TLS: an answer would have it twice, or have it although a rule removes it."""
    told = {} if settings.tls is None else {name.lower(): name for name, _ in settings.tls.headers}
    return [
        f"edge.headers.{number}: {told[name]} is what edge.tls.hsts says; set that (0: no such header)"
        for number, table in enumerate(settings.headers)
        for name in sorted(table.of_answers & told.keys())
    ]


def _faults_of_claims(settings: EdgeSettings) -> list[str]:
    """Claims that limits go by, and that no caller can have: their tokens may have them, but they are not read."""
    if settings.schemes - {"jwt"}:
        return []  # others say claims too
    read = {name for issuer in settings.jwt for name in issuer.claims}
    return [
        f"edge.jwt: limits or plans go by the claim {name!r}, which no issuer lets through; name it in its claims"
        for name in sorted(settings.call_limits.claims - read)
    ]
