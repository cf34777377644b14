"""The table [edge.security_headers]: what browsers are told on every answer, whatever the contract."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from busgate.bus.tables import Table

from .response import STANDARD, is_header_value


def _value(text: str) -> str:
    if not is_header_value(text):
        raise ValueError("must be printable ASCII")
    if "${" in text:
        raise ValueError("holds no values of the request; edge.headers does")
    return text


Value = Annotated[str, AfterValidator(_value)]


class SecurityHeaderSettings(Table):
    """The table [edge.security_headers]: on every answer but the documentation, which has its own. Empty: not sent.

    Args:
        content_security_policy: an answer is data: shown as a page it loads nothing, and no page frames it.
        cross_origin_resource_policy: pages of other origins may not embed answers; what CORS allows is not touched.
        frame_options: the same as frame-ancestors, for old browsers.
        permissions_policy: what a page may use of the machine; an answer is no page.
        referrer_policy: links out of an answer tell nobody where they stood.
    """

    content_security_policy: Value = "default-src 'none'; frame-ancestors 'none'"
    cross_origin_resource_policy: Literal["same-origin", "same-site", "cross-origin", ""] = "same-origin"
    frame_options: Literal["DENY", "SAMEORIGIN", ""] = "DENY"
    permissions_policy: Value = ""
    referrer_policy: Value = "no-referrer"

    def headers(self) -> list[tuple[str, str]]:
        """The headers of every answer, with those that are always there."""
        own = [
            ("Content-Security-Policy", self.content_security_policy),
            ("Cross-Origin-Resource-Policy", self.cross_origin_resource_policy),
            ("Permissions-Policy", self.permissions_policy),
            ("Referrer-Policy", self.referrer_policy),
            ("X-Frame-Options", self.frame_options),
        ]
        return [*STANDARD, *((name, value) for name, value in own if value)]
