"""Keys that verify tokens. A key fixes its algorithm: a token can choose a key, never a way to check.

Weak or unfit keys are refused when they are read, so that none is found out by the first token.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from .compact import KID_LIMIT, TokenRefused, read_object

PublicAlgorithm = Literal["RS256", "ES256", "EdDSA"]
Algorithm = Literal["HS256", PublicAlgorithm]
Material = bytes | RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

PUBLIC_ALGORITHMS: tuple[PublicAlgorithm, ...] = get_args(PublicAlgorithm)
SECRET_BYTES = 32
"""As many as the hash has (RFC 7518, 3.2)."""

UNNAMED_LIMIT = 4
"""Keys of one algorithm without a kid: each of them may cost a signature check for one token."""


class UnfitKeyError(ValueError):
    """A key that cannot or should not be used, and the cure. Holds nothing of the key."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key with the one algorithm that it is for."""

    algorithm: Algorithm
    material: Material = field(repr=False)
    kid: str | None = None


class KeySet:
    """The keys of one issuer; none while those at a URL have not come yet.

    Raises:
        UnfitKeyError: two have one name, or too many have none.
    """

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = tuple(keys)
        self._named = {key.kid: key for key in self._keys if key.kid is not None}
        unnamed = [key for key in self._keys if key.kid is None]
        if len(self._named) + len(unnamed) != len(self._keys):
            raise UnfitKeyError("two keys have one kid")
        self._unnamed = {
            algorithm: [key for key in unnamed if key.algorithm == algorithm] for algorithm in get_args(Algorithm)
        }
        if any(len(keys) > UNNAMED_LIMIT for keys in self._unnamed.values()):
            raise UnfitKeyError(f"more than {UNNAMED_LIMIT} keys of one algorithm have no kid; name them")

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __eq__(self, other: object) -> bool:
        """In any order."""
        return isinstance(other, KeySet) and (self._named, self._unnamed) == (other._named, other._unnamed)

    __hash__ = None  # type: ignore[assignment] # equality goes by what it holds

    def knows(self, kid: str | None) -> bool:
        """Whether one of the keys has this name."""
        return kid in self._named

    def find(self, kid: str | None, algorithm: object) -> list[Key]:
        """Keys that may have signed: the one with that name, or else those without a name.

        A token without a kid also finds the only key of a set, whatever its name.
        """
        named = self._named.get(kid) if kid is not None else self._only()
        if named is not None:
            return [named] if named.algorithm == algorithm else []
        return self._unnamed.get(algorithm, []) if isinstance(algorithm, str) else []

    def _only(self) -> Key | None:
        return self._keys[0] if len(self._keys) == 1 else None


def secret_key(text: str, *, kid: str | None = None) -> Key:
    """A shared secret, for HS256.

    Raises:
        UnfitKeyError: it is short, or a public key by mistake: everyone knows that one.
    """
    secret = text.encode()
    if len(secret) < SECRET_BYTES:
        raise UnfitKeyError(f"a secret has at least {SECRET_BYTES} bytes, this one {len(secret)}")
    if "-----BEGIN" in text:
        raise UnfitKeyError("a secret cannot be a PEM key: use public_key with RS256, ES256 or EdDSA")
    return Key("HS256", secret, kid)


def public_key(algorithm: Algorithm, pem: str, *, kid: str | None = None) -> Key:
    """A public key in PEM.

    Raises:
        UnfitKeyError: it is not one, or not one for this algorithm.
    """
    if "PRIVATE KEY" in pem:
        raise UnfitKeyError("this is a private key; it belongs to the issuer alone: give its public key")
    try:
        material = load_pem_public_key(pem.encode())
    except Exception as error:  # of many kinds, some of them quote the input
        raise UnfitKeyError("not a public key in PEM (-----BEGIN PUBLIC KEY-----)") from error
    return Key(algorithm, _fit(algorithm, material), kid)


def jwks_keys(text: bytes | str, *, algorithms: Collection[PublicAlgorithm] = PUBLIC_ALGORITHMS) -> list[Key]:
    """The keys of a JWK Set that verify signatures of ours; those for other uses are left out (RFC 7517).

    Args:
        text: JSON.
        algorithms: what keys may be for; others are left out too.

    Raises:
        UnfitKeyError: it is not a JWK Set, two keys have one kid, a key is weak, or none is left.
    """
    try:
        entries = read_object(text if isinstance(text, bytes) else text.encode()).get("keys")
    except TokenRefused as error:
        raise UnfitKeyError(f"not a JWK Set: {error}") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UnfitKeyError('not a JWK Set: an object with a list "keys" of objects is needed')
    keys = [_jwk(entry, algorithm) for entry in entries if (algorithm := _purpose(entry)) and algorithm in algorithms]
    if not keys:
        raise UnfitKeyError(f"no key of the JWK Set verifies {' or '.join(algorithms)}")
    return list(KeySet(keys))


_ALGORITHM_OF: dict[tuple[object, object], PublicAlgorithm] = {
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
    ("OKP", "Ed25519"): "EdDSA",
}


def _purpose(entry: dict[str, Any]) -> PublicAlgorithm | None:
    """What a JWK verifies, if anything. Symmetric keys do not belong in a set that is handed around."""
    crv = entry.get("crv")
    algorithm = _ALGORITHM_OF.get((str(entry.get("kty")), crv if isinstance(crv, str) else None))
    operations = entry.get("key_ops", ["verify"])
    fits = (
        entry.get("alg", algorithm) == algorithm
        and entry.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
    )
    return algorithm if fits else None


def _jwk(entry: dict[str, Any], algorithm: Algorithm) -> Key:
    kid = entry.get("kid")
    if "d" in entry:
        raise UnfitKeyError("the JWK Set holds a private key; it belongs to the issuer alone")
    if kid is not None and (not isinstance(kid, str) or not 0 < len(kid) <= KID_LIMIT):
        raise UnfitKeyError(f"a kid in the JWK Set is not a text of 1 to {KID_LIMIT} characters")
    try:
        material = jwt.PyJWK(entry, algorithm).key
    except Exception as error:  # the library quotes the key
        raise UnfitKeyError(f"a key of the JWK Set is not a valid {algorithm} key") from error
    return Key(algorithm, _fit(algorithm, material), kid)


def _fit(algorithm: Algorithm, material: object) -> Material:
    match algorithm, material:
        case "RS256", RSAPublicKey():
            if material.key_size < 2048:
                raise UnfitKeyError(f"an RSA key has at least 2048 bits, this one {material.key_size}")
            if material.public_numbers().e < 65537:
                raise UnfitKeyError("an RSA key has an exponent of at least 65537")
            if _is_of_roca_form(material.public_numbers().n):
                raise UnfitKeyError(
                    "an RSA key was made by a chip whose keys can be broken (CVE-2017-15361): replace it"
                )
        case "ES256", EllipticCurvePublicKey(curve=SECP256R1()):
            pass
        case "EdDSA", Ed25519PublicKey():
            pass
        case _:
            raise UnfitKeyError(f"not a key for {algorithm} (RS256: RSA, ES256: P-256, EdDSA: Ed25519)")
    return cast("Material", material)


_ROCA_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
"""Those up to 167 of which 65537 does not reach every remainder."""


def _is_of_roca_form(modulus: int) -> bool:
    """Whether it is a power of 65537 to each of these primes: so are all keys of such chips, and one other in 10^8."""
    return all(pow(modulus, _order(prime), prime) == 1 for prime in _ROCA_PRIMES)


def _order(prime: int) -> int:
    """The least power of 65537 that is 1 modulo a prime."""
    return next(power for power in range(1, prime) if pow(65537, power, prime) == 1)
