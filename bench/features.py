"""The rows of section `door`: what is switched on in each, what it is measured beside, and what it may add."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from bench.gateway import AUDIENCE, BODY
from bench.room import JSON
from busgate.bus.signed import SigningKey, jwk_set, new_pem
from busgate.contracts.signing import Signer
from busgate.edge.api_keys.text import new_id, new_key

Settings = Mapping[str, object]
KILOBYTE = b'{"a":1,"b":"%b"}' % (b"x" * (1000 - len('{"a":1,"b":""}')))


@dataclass(frozen=True, slots=True)
class Feature:
    """A row.

    Args:
        name: of the row.
        beside: of the row without it, if there is one.
        everywhere: no contract of an edge is without it.
        asked: microseconds of the edge's CPU time that it may add to a call; None where nothing is asked.
        path: of the contract that is called.
        body: of each request.
        settings: of the table [edge].
        trust: of the table [worker.trust].
        headers: of each request, instead of those with a token.
        signer: signs each request.
    """

    name: str
    beside: str | None = None
    everywhere: bool = False
    asked: float | None = None
    path: str = "/echo"
    body: bytes = BODY
    settings: Settings = field(default_factory=dict)
    trust: Settings = field(default_factory=dict)
    headers: Mapping[str, str] | None = None
    signer: Signer | None = None

    def signed(self, url: str, count: int) -> Iterator[Mapping[str, str]]:
        """What to send along with so many requests, if they are signed."""
        if self.signer is not None:
            for _ in range(count):
                yield self.signer.headers("POST", url, self.body, JSON)


PLAIN, PLAIN_KB, JWT = "public contract", "public contract, 1 kB", "JWT, remembered"
GUARDED = ["bench.guarded.*", "bench.proven.*"]
ACCESS: Settings = {
    "access": [
        {
            "name": "clients",
            "effect": "allow",
            "topics": GUARDED,
            "scopes": ["echo"],
            "addresses": ["127.0.0.0/8", "10.0.0.0/8"],
        },
        {"name": "gone", "effect": "deny", "topics": GUARDED, "callers": [{"issuer": AUDIENCE, "subject": "gone"}]},
    ]
}
RATE: Settings = {"rate": [{"name": "fair", "topics": GUARDED, "count": 10**7, "window": 3600, "burst": 5 * 10**6}]}
"""Refuses nothing within a run, although what a caller has used never comes back before its next request."""
AUDIT: Settings = {"audit": {"to": "file", "file": "/dev/null"}}


def features(folder: Path) -> tuple[Feature, ...]:
    """All rows. `folder`: for what has to stand in files."""
    signing, trust = _signing()
    keys, key = _api_key(folder)
    secret = secrets.token_hex(32)
    signer: Settings = {"keyid": "k", "subject": "bench", "secret": secret, "scopes": ["echo"]}
    signature: Settings = {"keys": [signer], "forget_nonces": True}  # in memory: to measure the check, not a store
    return (
        Feature(PLAIN, path="/open"),
        Feature(PLAIN_KB, path="/open", body=KILOBYTE),
        Feature(JWT, PLAIN, asked=8, path="/twinned"),
        Feature("API key", PLAIN, asked=10, settings=keys, headers=key),
        Feature(
            "HMAC and digest, 1 kB",
            PLAIN_KB,
            asked=60,
            body=KILOBYTE,
            settings={"signature": signature},
            headers=JSON,
            signer=Signer("k", secret),
        ),
        Feature("access rules", JWT, path="/guarded", settings=ACCESS),
        Feature("rate limit in memory", JWT, asked=5, path="/guarded", settings=RATE),
        Feature("signed caller", JWT, everywhere=True, asked=5, path="/proven", settings=signing, trust=trust),
        Feature("audit to a file", JWT, everywhere=True, asked=10, settings=AUDIT),
        Feature(
            "JWT and all of these",
            PLAIN,
            everywhere=True,
            path="/proven",
            settings={**ACCESS, **RATE, **signing, **AUDIT},
            trust=trust,
        ),
    )


def _signing() -> tuple[Settings, Settings]:
    """Of the edge, and of the worker."""
    pem = new_pem()
    return {"signing": {"key": pem.decode()}}, {"jwks": jwk_set([SigningKey(pem)]).decode()}


def _api_key(folder: Path) -> tuple[Settings, Mapping[str, str]]:
    """Of the edge, and what a request with a key has for headers."""
    name = new_id()
    key = new_key(name)
    now = datetime.fromtimestamp(int(time.time()), UTC).isoformat()
    record: dict[str, object] = {"id": name, "subject": "bench", "scopes": ["echo"], "created": now}
    record["secrets"] = [{"sha256": sha256(key.encode()).hexdigest(), "created": now}]
    file = folder / "keys.jsonl"
    file.touch(0o600)
    file.write_text(json.dumps(record) + "\n")
    return {"api_keys": {"file": str(file)}}, {**JSON, "X-Api-Key": key}
