"""What issuers said of opaque tokens, in the store that processes share: each is asked once for all of them.

Good verdicts only, each until the moment that it said at first. The store never sees a token: a key is an HMAC of the
token's hash. Nor is it believed: a value has a seal whose key is made of the client secret and the rules of the table,
and the seal is over its key as well. So whoever can write to the store can neither make a verdict nor give one token
that of another, and when the rules change, nothing is known any more.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from busgate.contracts import Caller

from .stores.distant import DistantStore
from .stores.store import StoreUnavailable
from .verified import VerifiedCaller

if TYPE_CHECKING:
    from .introspection import IntrospectionSettings

log = structlog.stdlib.get_logger("busgate.edge")

VERSION = 1
"""Of the value. Another one is not read: the issuer is asked."""
_SEAL = 64
"""Letters of a seal, before the JSON."""
_OF_THIS_MACHINE = {"at_once", "cafile", "client_secret"}
"""Settings that say nothing about what a verdict means."""


class SharedVerdicts:
    """The good verdicts of one table [edge.introspection].

    Args:
        settings: that table.
        store: where they are kept.
        clock: epoch seconds.

    Attributes:
        found: verdicts that were there: the issuer need not be asked.
        refused: values that were not sealed by this table, though they stood where only it writes.
    """

    def __init__(
        self, settings: "IntrospectionSettings", store: DistantStore, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.found = self.refused = 0
        self._store = store
        self._clock = clock
        self._remember = settings.remember
        rules = settings.model_dump(mode="json", exclude=_OF_THIS_MACHINE) | {"revoked": sorted(settings.revoked)}
        table = json.dumps({"version": VERSION, "rules": rules}, sort_keys=True).encode()
        secret = hmac.digest(settings.client_secret.get_secret_value().encode(), table, "sha256")
        self._names, self._seals = (hmac.digest(secret, use, "sha256") for use in (b"names", b"seals"))

    async def find(self, token: bytes) -> VerifiedCaller | None:
        """What was said of a token of this hash; None: the issuer must be asked, the store being away included."""
        key = self._key(token)
        try:
            value = await self._store.get(key)
        except StoreUnavailable:
            return None  # its health says so
        if value is None:
            return None
        caller = self._read(key, value)
        if caller is not None:
            self.found += 1
        return caller

    def keep(self, token: bytes, caller: VerifiedCaller) -> None:
        """Let others know what was said of a token of this hash. Nobody waits for that."""
        lasts = caller.expires - self._clock()
        if lasts <= 0:
            return
        document = {
            "version": VERSION,
            "until": caller.expires,
            "caller": caller.header.decode(),
            "certificate": caller.certificate,
        }
        key, text = self._key(token), json.dumps(document).encode()
        with suppress(StoreUnavailable):
            self._store.put(key, self._seal(key, text) + text, lasts)

    def _key(self, token: bytes) -> str:
        return f"introspection:{hmac.new(self._names, token, hashlib.sha256).hexdigest()}"

    def _seal(self, key: str, text: bytes) -> bytes:
        return hmac.new(self._seals, key.encode() + b"\n" + text, hashlib.sha256).hexdigest().encode()

    def _read(self, key: str, value: bytes) -> VerifiedCaller | None:
        seal, text = value[:_SEAL], value[_SEAL:]
        if not hmac.compare_digest(seal, self._seal(key, text)):
            self._refuse(key)
            return None
        document = json.loads(text)  # ours, as the seal says
        now = self._clock()
        if document["version"] != VERSION or document["until"] <= now:
            return None
        # A clock of another machine may be ahead: it cannot make a verdict last longer than ours would.
        until = min(document["until"], now + self._remember)
        caller = Caller.from_json(document["caller"])
        return VerifiedCaller(caller, until, "introspection", certificate=document["certificate"])

    def _refuse(self, key: str) -> None:
        self.refused += 1
        if self.refused == 1:  # whoever can write there must not fill the log as well
            log.error("a verdict in the store was not written by an edge of this configuration", key=key)
