"""The door of an edge: everything that decides who may call, made once from the settings for all contracts."""

from collections.abc import Iterable
from typing import Any

from busgate.bus import Bus
from busgate.bus.signed import SigningKey
from busgate.contracts import Call

from .access import Access
from .access_rules import accepted
from .api_keys.scheme import ApiKeys
from .api_keys.watch import KeyWatch
from .authentication import authentication, refuser
from .authorisation import address_check, authorisation, find_address
from .bearer import Bearer
from .client_address import ClientAddresses
from .client_certificates import ClientCertificates
from .exchange import Step
from .introspection import Introspector
from .issuer_keys import IssuerKeys
from .looks import OneQuestion
from .metering.limiter import Limiter
from .pre_call import PreCall
from .schemes import Scheme
from .settings import EdgeSettings
from .signatures.content_check import content_check
from .signatures.scheme import Signatures
from .signing import CallerSigner, Sign
from .signing_keys import SigningKeys
from .stores.distant import DistantStore
from .tokens import TokenVerifier


class Door:
    """Gives each contract its steps, and keeps what they share: keys, remembered credentials, and the store.

    Start it before the first request; close it after the last.

    Args:
        settings: of the edge.
        bus: where services are that decide.
    """

    def __init__(self, settings: EdgeSettings, bus: Bus) -> None:
        self._settings = settings
        self._access: dict[Call[Any, Any], Access] = {}
        self.tokens = TokenVerifier(settings.jwt, remembered=settings.remembered_tokens)
        self.issuer_keys = IssuerKeys(settings.jwt, self.tokens)
        self.store = settings.store.open()
        shared = self.store if isinstance(self.store, DistantStore) else None
        self.introspector = (
            None if settings.introspection is None else Introspector(settings.introspection, store=shared)
        )
        self.limits = Limiter(settings.call_limits, self.store, open_without=settings.store.when_unavailable == "allow")
        self.schemes: list[Scheme] = []
        if settings.jwt or self.introspector is not None:
            self.schemes.append(Bearer(self.tokens, self.issuer_keys, self.introspector))
        if settings.tls and settings.tls.clients:
            self.schemes.append(ClientCertificates(settings.tls.clients))
        self.pre_call = None if settings.pre_call is None else PreCall(settings.pre_call, bus)
        if self.pre_call is not None:
            self.schemes.append(self.pre_call)
        self.signing_keys: SigningKeys | None = None
        self.signer: CallerSigner | None = None
        if settings.signing.enabled:
            self.signing_keys = SigningKeys(settings.signing, self._sign_with)
            self.signer = CallerSigner(self.signing_keys.current)
        self.addresses = ClientAddresses(settings.trusted_proxies, header=settings.address_header)
        if settings.signature.keys:
            self.schemes.append(Signatures(settings.signature, self.store))
        self.key_watch: KeyWatch | None = None
        if settings.api_keys.file is not None:
            keys = ApiKeys(settings.api_keys.header)
            self.schemes.append(keys)
            plans = {plan.name for plan in settings.plan}
            self.key_watch = KeyWatch(settings.api_keys.file, keys, self.store, plans=plans)

    def authentication(self, call: Call[Any, Any]) -> Step | None:
        """The step that finds the caller; None where the contract is public."""
        if call.public:
            return None
        return authentication(self.schemes, self._accepted(call))

    def content_check(self, call: Call[Any, Any]) -> Step | None:
        """The step that holds the body against its signature; None where nobody signs."""
        if call.public or not self._settings.signature.keys:
            return None
        return content_check(call, refuser(self.schemes, self._accepted(call)))

    def in_one_question(self, call: Call[Any, Any], steps: Iterable[Step | None]) -> list[Step]:
        """These steps, the store asked once for all of them where it is not that of this process."""
        used = [step for step in steps if step is not None]
        asks = self.limits.about(call) or (not call.public and self._settings.signature.keys)
        if not isinstance(self.store, DistantStore) or not asks:
            return used
        refuse = refuser(self.schemes, self._accepted(call))
        return [OneQuestion(used, self.store, refuse=refuse, unchecked=self.limits.counts.note_unchecked)]

    @property
    def ambient(self) -> frozenset[str]:
        """The schemes whose credentials browsers send by themselves: certificates, and cookies for pre-calls."""
        decided = self._settings.pre_call
        by_cookie = {"pre-call"} if decided is not None and "cookie" in decided.headers else set()
        return self._settings.schemes & ({"certificate"} | by_cookie)

    def _accepted(self, call: Call[Any, Any]) -> frozenset[str]:
        return accepted(call, self._settings.accept, self._settings.schemes)

    def access(self, call: Call[Any, Any]) -> Access:
        """What the access rules say of the contract."""
        if call not in self._access:  # both steps ask one, so that it looks at an address once
            self._access[call] = Access(call, self._settings.access, self._settings.access_default)
        return self._access[call]

    def whereabouts(self) -> Step | None:
        """The step that finds where clients behind proxies are; None where no proxy is trusted.

        The step raises Refusal BAD_REQUEST where a trusted proxy does not say so in a form that can be read.
        """
        return find_address if self._settings.trusted_proxies else None

    def address_check(self, call: Call[Any, Any]) -> Step | None:
        """The step that refuses clients by their address alone; None where none is."""
        return address_check(self.access(call))

    def authorisation(self, call: Call[Any, Any]) -> Step | None:
        """The step that lets through who may use the contract; None where everybody may."""
        return authorisation(call, self.access(call))

    def signature(self, call: Call[Any, Any]) -> Sign | None:
        """What signs the callers of the contract; None where there are none, or none are signed."""
        return None if call.public or self.signer is None else self.signer.of(call)

    def _sign_with(self, key: SigningKey) -> None:
        assert self.signer is not None
        self.signer.use(key)

    @property
    def unready(self) -> str | None:
        """Why no caller at all can be let in now."""
        keys = self.issuer_keys.unready if self._tokens_alone else None
        return keys or (None if self._does_without_store else self._store_away)

    @property
    def remark(self) -> str | None:
        """What the operator should know although callers are let in."""
        found = (
            None if self._tokens_alone else self.issuer_keys.unready,
            self._store_away if self._does_without_store else None,
            None if self.key_watch is None or self.key_watch.fault is None else f"API keys: {self.key_watch.fault}",
        )
        return "; ".join(filter(None, found)) or None

    @property
    def _tokens_alone(self) -> bool:
        """Whether nobody can prove who it is but by a token of an issuer."""
        return self._settings.schemes == {"jwt"}

    @property
    def _does_without_store(self) -> bool:
        """Whether requests are let in uncounted while the store is away; nonces never are."""
        return self._settings.store.when_unavailable == "allow" and "signature" not in self._settings.schemes

    @property
    def _store_away(self) -> str | None:
        return None if self.store.unready is None else f"store: {self.store.unready}"

    async def start(self) -> None:
        """Have what must be had before the first request, within some seconds.

        Raises:
            StoreUnavailable: the store will never work as it is configured.
        """
        await self.store.start()
        await self.limits.start()
        if self.introspector is not None:
            self.introspector.start()
        await self.issuer_keys.start()
        if self.signing_keys is not None:
            self.signing_keys.start()
        if self.key_watch is not None:
            await self.key_watch.start()

    async def close(self) -> None:
        await self.issuer_keys.close()
        if self.key_watch is not None:
            await self.key_watch.close()
        for each in (self.introspector, self.pre_call):
            if each is not None:
                await each.close()
        await self.limits.close()
        await self.store.close()
        if self.signing_keys is not None:
            await self.signing_keys.close()
