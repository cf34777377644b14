"""Test services through the edge: a real one on a free port, and an HTTP client with tokens. See docs/testing.md."""

import json
import secrets
import socket
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar, Unpack

import aiohttp
import jwt
from pydantic import BaseModel, SecretStr

from busgate.bus.testing import Stage
from busgate.contracts import Call, Caller, Catalog, ContractError

from .app import Edge
from .client_certificates import without_certificates
from .issuers import IssuerSettings
from .records import Recorder
from .settings import EdgeSettings, faults_with
from .signing_keys import SigningSettings

ModelT = TypeVar("ModelT", bound=BaseModel)

ISSUER, AUDIENCE, TESTER = "test", "test", "tester"
LIFETIME = 3600
"""Seconds that a token is good for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the edge, read to its end.

    Attributes:
        headers: names in any case.
        crash: what a handler raised on the way, where the answer is a failure and it was that.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    crash: BaseException | None = None

    def json(self) -> Any:
        """Raises ValueError where the body is not JSON."""
        return json.loads(self.body)

    def read(self, model: type[ModelT]) -> ModelT:
        """The body as a model. Raises ValidationError where it is not one, a problem for instance."""
        return model.model_validate_json(self.body)

    def __repr__(self) -> str:
        """What a failed assertion shows."""
        crash = f"; its handler raised {self.crash!r}" if self.crash else ""
        return f"<{self.status}: {self.body.decode(errors='replace')}{crash}>"


class Options(TypedDict, total=False):
    """What each method of the client takes; `request` says what it means."""

    query: Mapping[str, str] | None
    headers: Mapping[str, str] | None
    caller: Caller | str | None


class HttpClient:
    """Calls one edge. Each request has a token, of "tester" with all scopes that the contracts know.

    `caller` in the methods: a name, which gets all scopes too; a Caller, which gets its own; None sends no token.
    """

    def __init__(self, address: str, session: aiohttp.ClientSession, tokens: "Tokens", stage: Stage) -> None:
        self.address = address
        self._session = session
        self._tokens = tokens
        self._stage = stage

    async def get(self, path: str, **options: Unpack[Options]) -> Answer:
        return await self.request("GET", path, **options)

    async def post(self, path: str, body: object = None, **options: Unpack[Options]) -> Answer:
        return await self.request("POST", path, body, **options)

    async def put(self, path: str, body: object = None, **options: Unpack[Options]) -> Answer:
        return await self.request("PUT", path, body, **options)

    async def patch(self, path: str, body: object = None, **options: Unpack[Options]) -> Answer:
        return await self.request("PATCH", path, body, **options)

    async def delete(self, path: str, **options: Unpack[Options]) -> Answer:
        return await self.request("DELETE", path, **options)

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        caller: Caller | str | None = TESTER,
    ) -> Answer:
        """Send a request.

        Args:
            method: of HTTP.
            path: as in the contract, its variables filled in.
            body: a model, or what JSON can say; bytes are sent as they are; None is no body.
            query: parameters.
            headers: more of them.
            caller: whose token to send; see the class.
        """
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if caller is not None:
            sent["Authorization"] = f"Bearer {self._tokens.of(caller)}"
        async with self._session.request(
            method, self.address + path, data=_encode(body), params=query, headers=sent | dict(headers or {})
        ) as response:
            read = await response.read()
        crash = self._stage.crashes.get(response.headers.get("X-Request-Id", "").encode())
        return Answer(response.status, response.headers, read, crash)


class HttpHarness:
    """Edges on the stage of a test. In pytest it is the fixture `busgate_http`."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    @asynccontextmanager
    async def serving(
        self, *contracts: Call[Any, Any] | str, settings: EdgeSettings | None = None
    ) -> AsyncIterator[HttpClient]:
        """Serve contracts over HTTP on a free port of this machine, and give a client for it.

        Args:
            contracts: contracts, or names of modules that hold them.
            settings: of the edge. Its issuers of tokens give way to that of the test, which lets the same claims
                through, and the key that it signs callers with to that of the test; host, port, TLS and the admin
                listener are not looked at.

        Raises:
            ContractError: the contracts cannot be served together, or not by such an edge.
            BusError: the broker cannot be used.
        """
        catalog = without_certificates(_catalog(contracts))
        tokens = Tokens(scope for call in catalog for scope in call.scopes)
        settings = _for_test(settings or EdgeSettings(), tokens, self._stage)
        if faults := faults_with(settings, catalog):
            raise ContractError("; ".join(faults))
        async with AsyncExitStack() as closing:
            bus = self._stage.bus("edge")
            closing.push_async_callback(bus.close)
            edge = Edge(catalog, settings, bus, recorder=Recorder())
            closing.push_async_callback(edge.close)
            await bus.start()
            listener = socket.create_server(("127.0.0.1", 0))
            closing.callback(listener.close)
            await edge.start(listener)
            closing.push_async_callback(edge.drain, 0)
            session = await closing.enter_async_context(aiohttp.ClientSession(trust_env=False))
            yield HttpClient(f"http://127.0.0.1:{listener.getsockname()[1]}", session, tokens, self._stage)


class Tokens:
    """Tokens of one test; the key is new each time."""

    def __init__(self, scopes: Iterable[str]) -> None:
        self._scopes = frozenset(scopes)
        self._secret = secrets.token_urlsafe(32)

    def issuer(self, claims: Iterable[str]) -> IssuerSettings:
        """Who issues them, as a table [[edge.jwt]]; `claims` travel on with the caller."""
        keys = [{"secret": self._secret}]
        return IssuerSettings.model_validate(
            {"issuer": ISSUER, "audience": [AUDIENCE], "keys": keys, "claims": list(claims)}
        )

    def of(self, caller: Caller | str) -> str:
        if isinstance(caller, str):
            caller = Caller(caller, scopes=self._scopes)
        now = int(time.time())
        claims = dict(caller.claims) | {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": caller.subject,
            "iat": now,
            "exp": now + LIFETIME,
            "scope": " ".join(sorted(caller.scopes)),
        }
        return jwt.encode(claims, self._secret, "HS256")


def _catalog(contracts: Iterable[Call[Any, Any] | str]) -> Catalog:
    calls: list[Call[Any, Any]] = []
    for each in contracts:
        calls += Catalog.load([each]) if isinstance(each, str) else [each]
    if not calls:
        raise ContractError("nothing to serve over HTTP: name contracts, or modules that hold them")
    return Catalog(dict.fromkeys(calls))


def _for_test(settings: EdgeSettings, tokens: Tokens, stage: Stage) -> EdgeSettings:
    claims = dict.fromkeys(name for issuer in settings.jwt for name in issuer.claims)
    signing = SigningSettings(key=SecretStr(stage.signing_pem.decode()))
    signature = settings.signature.model_copy(update={"forget_nonces": True})  # a test starts an edge once
    ours = {"jwt": (tokens.issuer(claims),), "signing": signing, "signature": signature, "tls": None}
    return settings.model_copy(update=ours)


def _encode(body: object) -> bytes | None:
    match body:
        case None | bytes():
            return body
        case BaseModel():
            return body.model_dump_json(by_alias=True, exclude_unset=True).encode()
    return json.dumps(body).encode()
