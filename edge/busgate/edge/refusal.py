"""What the edge answers itself, before a call is sent: the HTTP rows of the truth table, one line each."""

from collections.abc import Sequence

from busgate.contracts import FailureKind

from .invalid import told_in_records


def _refused(name: str, status: int, title: str) -> FailureKind:
    return FailureKind(name, status, "not_executed", title, "client")


BAD_REQUEST = _refused("bad-request", 400, "The request is not well-formed")
UNAUTHENTICATED = _refused("unauthenticated", 401, "Authentication is needed")
FORBIDDEN = _refused("forbidden", 403, "The caller may not do this")
NOT_FOUND = _refused("not-found", 404, "There is nothing here")
METHOD_NOT_ALLOWED = _refused("method-not-allowed", 405, "This method is not served here")
NOT_ACCEPTABLE = _refused("not-acceptable", 406, "Only application/json is served here")
REQUEST_TIMEOUT = _refused("request-timeout", 408, "The request did not arrive in time")
CONTENT_TOO_LARGE = _refused("content-too-large", 413, "The body is too large")
URI_TOO_LONG = _refused("uri-too-long", 414, "The request target is too long")
UNSUPPORTED_MEDIA_TYPE = _refused("unsupported-media-type", 415, "The body is not application/json")
EXPECTATION_FAILED = _refused("expectation-failed", 417, "This expectation is not met")
MISDIRECTED = _refused("misdirected-request", 421, "This host is not served here")
INVALID = _refused("invalid-request", 422, "The request does not match the contract")
RATE_EXCEEDED = _refused("rate-exceeded", 429, "Too many requests in a short time")
QUOTA_EXCEEDED = _refused("quota-exceeded", 429, "The requests of this day or month are used up")
TOO_MANY_AT_ONCE = _refused("too-many-at-once", 429, "Too many requests run at a time")
HEADERS_TOO_LARGE = _refused("headers-too-large", 431, "The headers are too large")
TOO_MANY_CONNECTIONS = FailureKind("too-many-connections", 503, "not_executed", "Too many connections", "edge")
KEYS_UNAVAILABLE = FailureKind(
    "keys-unavailable", 503, "not_executed", "The keys of the token's issuer cannot be had now", "edge"
)
INTROSPECTION_UNAVAILABLE = FailureKind(
    "introspection-unavailable", 503, "not_executed", "The issuer of the token cannot be asked about it now", "edge"
)
PRE_CALL_FAILED = FailureKind(
    "pre-call-failed", 503, "not_executed", "The service that decides who calls cannot be asked now", "service"
)
STORE_UNAVAILABLE = FailureKind(
    "store-unavailable", 503, "not_executed", "What the gateway remembers of earlier requests cannot be had now", "edge"
)
AUDIT_UNAVAILABLE = FailureKind("audit-unavailable", 503, "not_executed", "Calls cannot be audited now", "edge")
INTERNAL = FailureKind("internal-error", 500, "unknown", "The gateway failed", "edge")
NOT_IMPLEMENTED = _refused("not-implemented", 501, "This transfer coding is not understood")
VERSION_NOT_SUPPORTED = _refused("http-version-not-supported", 505, "HTTP/1.1 is spoken here")


class Refusal(Exception):  # noqa: N818 - what happens to the request, not an error of ours
    """A request that the edge answers itself, with no call sent.

    Args:
        kind: the row of the table.
        detail: what is wrong with this request; never text of the client's beyond names and pointers, never a secret.
        headers: response headers beyond the standard ones, like `Allow` or `WWW-Authenticate`.
        errors: for INVALID, one object each: `{"pointer": "#/sku", "detail": "..."}`.
        close: end the connection after the answer, because what follows on it cannot be trusted.
        violated: names of the limits that do not let it through.
    """

    def __init__(
        self,
        kind: FailureKind,
        detail: str | None = None,
        *,
        headers: Sequence[tuple[str, str]] = (),
        errors: Sequence[dict[str, str]] = (),
        close: bool = False,
        violated: Sequence[str] = (),
    ) -> None:
        super().__init__(f"{kind.name}: {detail or kind.title}")
        self.kind = kind
        self.detail = detail
        self.headers = headers
        self.errors = errors
        self.close = close
        self.violated = violated

    @property
    def reason(self) -> str:
        """Why, for the operator: what the step that refused knows and does not say outside, else what it says."""
        if self.__cause__ is not None:
            return str(self.__cause__)
        if self.errors:
            return "; ".join(dict.fromkeys(map(told_in_records, self.errors)))
        return self.detail or self.kind.title
