from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ValidationError
from support.api_keys import add_key

from busgate.contracts import Call, Catalog, http
from busgate.edge.issuers import IssuerSettings
from busgate.edge.settings import EdgeSettings, faults_with

SECRET = "s" * 32


class Empty(BaseModel):
    pass


def issuer(**changes: Any) -> dict[str, Any]:
    return {"issuer": "me", "audience": "shop", "keys": [{"secret": SECRET}], **changes}


def catalog(**settings: Any) -> Catalog:
    return Catalog([Call("shop.list.v1", http.get("/orders"), request=Empty, reply=Empty, **settings)])


def test_the_defaults_are_for_this_machine_and_show_nothing() -> None:
    settings = EdgeSettings()

    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert (settings.admin.enabled, settings.admin.host, settings.admin.port) == (True, "127.0.0.1", 8081)
    assert (settings.trust_traceparent, settings.expose_service_names, settings.server_timing) == (False,) * 3


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"port": 65536}, "65535"),
        ({"port": 8081}, "one port"),
        ({"contracts": ["shop/contracts"]}, "not the name of a module"),
        ({"hosts": ["https://shop.example"]}, "is not a host"),
        ({"hosts": ["Shop.example"]}, "lower case"),
        ({"limits": {"headers": 5}}, "not permitted"),
        ({"jwt": [issuer(), issuer()]}, "one issuer"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(table: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        EdgeSettings.model_validate(table)


@pytest.mark.parametrize("hosts", ["shop.example", ["shop.example:8443", "[::1]:8080"]])
def test_hosts_may_have_ports(hosts: Any) -> None:
    assert EdgeSettings.model_validate({"hosts": hosts}).hosts


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"audience": []}, "any_audience"),
        ({"audience": ""}, "empty"),
        ({"any_audience": True}, "exclude"),
        ({"keys": []}, "no key"),
        ({"keys": [{}]}, "exactly one"),
        ({"keys": [{"secret": SECRET, "public_key": "x"}]}, "exactly one"),
        ({"keys": [{"secret": SECRET, "algorithm": "RS256"}]}, "needs a public_key"),
        ({"keys": [{"secret": "short-and-secret"}]}, "32 bytes, this one 16"),
        ({"keys": [{"public_key": "x"}]}, "needs its algorithm"),
        ({"keys": [{"public_key": "x", "algorithm": "HS256"}]}, "needs its algorithm"),
        ({"keys": [{"public_key": "short-and-secret", "algorithm": "RS256"}]}, "not a public key"),
        ({"keys": [{"secret": SECRET, "algorithm": "none"}]}, "HS256"),
        ({"keys": [{"jwks": "{}", "algorithm": "RS256"}]}, "algorithm goes with secret or public_key, not with jwks"),
        ({"keys": [{"jwks_url": "https://a.example/keys", "jwks": "{}"}]}, "exactly one"),
        ({"keys": [{"jwks_url": "http://a.example/keys"}]}, "by https:// alone"),
        ({"keys": [{"jwks_url": "http://127.0.0.1.a.example/keys"}]}, "by https:// alone"),
        ({"keys": [{"jwks_url": "https://short-and-secret@a.example/keys"}]}, "no user and password"),
        ({"keys": [{"jwks_url": "https://a.example/keys#one"}]}, "before its #"),
        ({"keys": [{"jwks_url": "https://a.example:99999/short-and-secret"}]}, "like https"),
        ({"keys": [{"jwks_url": "https:///keys"}]}, "like https"),
        ({"keys": [{"jwks_url": "file:///etc/passwd"}]}, "like https"),
        ({"keys": [{"jwks_url": "https://a.example/ keys"}]}, "like https"),
        ({"keys": [{"jwks_url": "https://a.example/k\neys"}]}, "like https"),
        ({"keys": [{"jwks_url": "https://a.example/keys", "kid": "one"}]}, "kid goes with"),
        ({"keys": [{"jwks_url": "https://a.example/keys", "algorithms": []}]}, "at least 1"),
        ({"keys": [{"jwks_url": "https://a.example/keys", "algorithms": ["HS256"]}]}, "RS256"),
        ({"keys": [{"jwks_url": "https://a.example/keys", "refresh": 29}]}, "30"),
        ({"keys": [{"jwks_url": "https://a.example/keys", "cafile": __file__}]}, "certificates in PEM"),
        ({"keys": [{"jwks_url": "https://a.example/keys"}] * 2}, "stands twice"),
        ({"keys": [{"secret": SECRET, "refresh": 60}]}, "refresh goes with jwks_url"),
        ({"keys": [{"secret": SECRET, "algorithms": ["RS256"]}]}, "algorithms goes with jwks or jwks_url"),
        ({"keys": [{"jwks": "short-and-secret"}]}, "not a JWK Set"),
        ({"keys": [{"secret": SECRET, "kid": "a"}, {"secret": SECRET, "kid": "a"}]}, "one kid"),
        ({"leeway": 301}, "300"),
    ],
)
def test_an_issuer_that_is_not_safe_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why) as caught:
        IssuerSettings.model_validate(issuer(**changes))

    assert "short-and-secret" not in str(caught.value)


def test_a_secret_of_an_issuer_is_never_shown() -> None:
    settings = EdgeSettings.model_validate({"jwt": [issuer()]})

    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_keys_may_stand_in_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    (tmp_path / "secret").chmod(0o640)
    table = issuer(keys=[{"secret": {"file": "secret"}, "kid": "one"}])

    (key,) = IssuerSettings.model_validate(table, context={"folder": tmp_path}).key_set()

    assert (key.algorithm, key.material, key.kid) == ("HS256", SECRET.encode(), "one")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost", "localhost:8000"])
def test_keys_come_without_tls_from_this_machine_alone(host: str) -> None:
    settings = IssuerSettings.model_validate(issuer(keys=[{"jwks_url": f"http://{host}/keys"}]))

    assert list(settings.key_set()) == []


def test_a_contract_that_is_not_public_needs_an_issuer() -> None:
    (fault,) = faults_with(EdgeSettings(), catalog())

    assert "shop.list.v1" in fault
    assert "[[edge.jwt]]" in fault


def test_an_edge_that_may_serve_its_contracts_has_no_faults() -> None:
    with_issuer = EdgeSettings.model_validate({"jwt": [issuer()]})

    assert faults_with(EdgeSettings(), catalog(public=True)) == []
    assert faults_with(with_issuer, catalog(scopes={"orders:read"})) == []


def test_a_scope_that_no_token_can_grant_is_a_fault() -> None:
    (fault,) = faults_with(EdgeSettings.model_validate({"jwt": [issuer()]}), catalog(scopes={"orders read"}))

    assert "'orders read'" in fault


def test_a_contract_that_reads_the_header_of_keys_cannot_be_served(tmp_path: Path) -> None:
    class Keyed(BaseModel):
        key: Annotated[str, http.Header("x-shop-key")]

    add_key(tmp_path / "keys.jsonl")
    settings = EdgeSettings.model_validate({"api_keys": {"file": tmp_path / "keys.jsonl", "header": "X-Shop-Key"}})
    reads = Call("shop.keyed.v1", http.get("/keyed"), request=Keyed, reply=Keyed)

    (fault,) = faults_with(settings, Catalog([reads]))

    assert fault.startswith("contract shop.keyed.v1: it reads the header X-Shop-Key, which is for keys here")
