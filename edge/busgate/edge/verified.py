"""A caller who has proved who it is, by whatever scheme; and a credential that proves nothing."""

from busgate.contracts import Caller


class CredentialRefused(Exception):  # noqa: N818 - what happens to a credential, not an error of ours
    """A credential that proves nothing. The reason is for the operator: it holds no text of the credential."""


class VerifiedCaller:
    """A caller as a credential proves it, with all that a call needs of it made ready.

    Args:
        caller: the principal.
        expires: epoch seconds, when the credential is no longer good, leeway included.
        scheme: what kind of credential it is.
        credential: the name of the credential, where it has one that may be shown: of one key among several.
        plan: the usage plan that goes with it; empty: none.
        certificate: thumbprint of the client certificate without which it proves nothing (`x5t#S256`); empty: any
            connection does.

    Attributes:
        header: the `caller` header of calls.
        scopes: what the caller may do.
        counted_as: what limits count it by; empty until one does.

    Raises:
        ValueError: the claims of the caller are too large to travel.
    """

    __slots__ = ("caller", "certificate", "counted_as", "credential", "expires", "header", "plan", "scheme", "scopes")

    def __init__(
        self,
        caller: Caller,
        expires: float,
        scheme: str,
        *,
        credential: str = "",
        plan: str = "",
        certificate: str = "",
    ) -> None:
        self.caller = caller
        self.header = caller.to_json()
        self.scopes = caller.scopes
        self.expires = expires
        self.scheme = scheme
        self.credential = credential
        self.plan = plan
        self.certificate = certificate
        self.counted_as = ""
