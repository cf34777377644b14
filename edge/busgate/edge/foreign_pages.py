"""Pages of other origins that act in the name of whoever sits before the browser (CSRF).

Certificates and cookies go along by themselves, with what no page had to ask for first: CORS has a browser ask before
JSON is sent, and before PUT, PATCH and DELETE, but not before a POST without a body. So where such a credential
lets in, whatever may change something comes from a page of our own host, from one that a table of [[edge.cors]]
lists with credentials, or from no page: programs send no Origin.
"""

from collections.abc import Collection

from busgate.contracts.catalog import AnyCall

from .cors import CorsPolicy
from .exchange import Exchange, Step
from .refusal import FORBIDDEN, Refusal


def foreign_pages(call: AnyCall, policy: CorsPolicy | None, *, ambient: Collection[str]) -> Step | None:
    """The step that refuses them, once the caller is known; None where no page could do harm.

    Args:
        call: the contract.
        policy: what holds for pages of other origins there.
        ambient: schemes whose credentials browsers send by themselves.

    The step raises Refusal FORBIDDEN.
    """
    if call.public or call.http.method == "GET" or not ambient:
        return None

    def step(exchange: Exchange) -> None:
        headers = exchange.head.headers
        origin = headers.get(b"origin")
        if origin is None or exchange.caller is None or exchange.caller.scheme not in ambient:
            return
        if origin.lower().partition(b"://")[2] == headers[b"host"].lower():
            return  # scheme aside, which a proxy may have changed
        if policy is None or not policy.allows_credentials(origin):
            raise Refusal(FORBIDDEN, "pages of this origin may not act for their visitors here")

    return step
