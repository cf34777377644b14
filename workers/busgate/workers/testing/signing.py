"""What an edge does for services that verify who calls: it has a key, and signs callers with it."""

import time

from busgate.bus import CallContext
from busgate.bus.signed import SigningKey, digest, jwk_set
from busgate.contracts import Call
from busgate.contracts.call import ReplyT, RequestT
from busgate.contracts.codec import writer
from busgate.workers.trust import Trust
from busgate.workers.trust_settings import TrustSettings


class Signing:
    """The key of one test. `trust` is what its services believe.

    Args:
        pem: of the key.
    """

    def __init__(self, pem: bytes) -> None:
        self._key = SigningKey(pem)
        self.trust = Trust(TrustSettings(jwks=jwk_set([self._key]).decode()))

    def sign(self, contract: Call[RequestT, ReplyT], request: RequestT, context: CallContext) -> bytes:
        """The header `jws` of a call."""
        message = ""
        if contract.bound:
            body = writer(contract.request, exclude_unset=True)(request)
            message = digest(contract.topic, context.call_id, body)
        return self._key.sign(context.caller, contract.audience, now=int(time.time()), message=message)
