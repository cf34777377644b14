"""The table [worker.trust]: whose signatures of callers services believe."""

import ssl
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from busgate.bus.tables import PublicFile, Table, Text, is_loopback, split_web_url


def _web_url(text: str) -> str:
    split_web_url(text)
    return text


class TrustSettings(Table):
    """The table [worker.trust]: the public keys of the edge, for services with trust="verified".

    One of `jwks_url`, `jwks_file` and `jwks`. It needs `pip install 'busgate[trust]'`.

    Args:
        jwks_url: where an edge shows them: `/jwks` of its admin listener.
        jwks_file: a file that holds what stands there, JSON; it may change.
        jwks: the same as text, read once.
        refresh: seconds from one look at the URL or file to the next.
        leeway: seconds that the clocks of edge and worker may differ.
        cafile: PEM of the authorities that may vouch for the host of an https URL; without it, those of the system.
        allow_plaintext: take keys over http from beyond this machine. Who can change them on their way can be anyone.
    """

    jwks_url: Annotated[str, AfterValidator(_web_url)] | None = None
    jwks_file: PublicFile | None = None
    jwks: Text | None = None
    refresh: float = Field(30.0, ge=1, le=3600)
    leeway: float = Field(5.0, ge=0, le=30)
    cafile: PublicFile | None = None
    allow_plaintext: bool = False

    @property
    def enabled(self) -> bool:
        """Whether it says where keys are."""
        return (self.jwks_url or self.jwks_file or self.jwks) is not None

    def tls(self) -> ssl.SSLContext | None:
        """How the host of the URL is made sure of; None for http. Raises OSError where `cafile` holds no PEM."""
        if self.jwks_url is None or not self.jwks_url.startswith("https:"):
            return None
        return ssl.create_default_context(cafile=self.cafile)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if sum(each is not None for each in (self.jwks_url, self.jwks_file, self.jwks)) > 1:
            raise ValueError("give one of jwks_url, jwks_file and jwks")
        url = None if self.jwks_url is None else split_web_url(self.jwks_url)
        if self.cafile is not None and (url is None or url.scheme != "https"):
            raise ValueError("cafile goes with a jwks_url of https")
        if (
            url is not None
            and url.scheme == "http"
            and not is_loopback(url.hostname or "")
            and not self.allow_plaintext
        ):
            raise ValueError(
                f"keys from {url.hostname} over http can be changed on their way, and whoever does can be anyone: "
                "use https, a jwks_file, or set allow_plaintext = true"
            )
        try:
            self.tls()
        except OSError:  # ssl.SSLError is one
            raise ValueError("cafile does not hold certificates in PEM") from None
        return self
