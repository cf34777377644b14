"""The edge signs callers: once for each and an audience, anew in time, by keys that change without a stop."""

import asyncio
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from busgate.bus.signed import LIFETIME, SigningKey, Verifier, digest, new_pem
from busgate.contracts import Call, Caller, Nothing, http
from busgate.edge import signing_keys
from busgate.edge.settings import EdgeSettings
from busgate.edge.signing import CallerSigner
from busgate.edge.signing_keys import SigningKeys, SigningSettings

NOW = 1_800_000_000.0


def contract(topic: str, *, timeout: float = 5.0, bound: bool = False) -> Call[Any, Any]:
    return Call(topic, http.post("/" + topic), request=Nothing, reply=Nothing, timeout=timeout, bound=bound)


def exchange(subject: str = "ann", *, call_id: bytes = b"0" * 32, message: bytes = b"{}") -> Any:
    caller = SimpleNamespace(header=Caller(subject).to_json())
    return SimpleNamespace(caller=caller, request=SimpleNamespace(id=call_id), message=message)


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signer(clock: Clock) -> CallerSigner:
    return CallerSigner(SigningKey(new_pem()), clock=clock)


def proved(signer: CallerSigner, jws: bytes, subject: str = "ann", *, now: float = NOW) -> Any:
    return Verifier({signer.key.kid: signer.key.public}, leeway=0).verify(jws, Caller(subject).to_json(), now)


def test_a_caller_is_signed_for_the_audience_of_the_topic(signer: CallerSigner) -> None:
    found = proved(signer, signer.of(contract("shop.orders.place.v1"))(exchange()))

    assert (found.caller.subject, found.audience, found.expires) == ("ann", "shop.orders", NOW + LIFETIME)


def test_one_signature_serves_all_calls_of_a_caller_for_an_audience(signer: CallerSigner) -> None:
    place, read = signer.of(contract("shop.orders.place.v1")), signer.of(contract("shop.orders.read.v2"))
    stock = signer.of(contract("shop.stock.check.v1"))

    assert place(exchange()) == read(exchange()) == place(exchange())
    assert signer.made == 1
    assert len({place(exchange()), place(exchange("eve")), stock(exchange()), stock(exchange("eve"))}) == 4
    assert signer.made == 4


@given(st.floats(0.05, 300), st.lists(st.floats(0, 40), min_size=1, max_size=30))
def test_no_call_is_signed_for_less_than_its_budget_or_what_a_signature_can_last(
    timeout: float, waits: list[float]
) -> None:
    clock = Clock()
    signer = CallerSigner(SigningKey(new_pem()), clock=clock)
    sign = signer.of(contract("a.b.v1", timeout=timeout))
    for wait in waits:
        clock.now += wait
        found = proved(signer, sign(exchange()), now=clock.now)

        assert found.expires - clock.now >= min(timeout, LIFETIME - 1)


def test_a_bound_contract_has_a_signature_for_each_message(signer: CallerSigner) -> None:
    sign = signer.of(contract("shop.orders.place.v1", bound=True))
    one, other = exchange(message=b"1"), exchange(message=b"2")

    assert proved(signer, sign(one)).message == digest("shop.orders.place.v1", b"0" * 32, b"1")
    assert proved(signer, sign(other)).message == digest("shop.orders.place.v1", b"0" * 32, b"2")


def test_another_key_signs_anew(signer: CallerSigner) -> None:
    sign = signer.of(contract("shop.orders.place.v1"))
    before, old = sign(exchange()), signer.key

    signer.use(old)
    assert sign(exchange()) == before
    signer.use(SigningKey(new_pem()))
    assert sign(exchange()) != before
    assert proved(signer, sign(exchange())).caller.subject == "ann"


# -- keys


def put(folder: Path, name: str, *, mode: int = 0o600) -> SigningKey:
    pem = new_pem()
    (folder / name).write_bytes(pem)
    (folder / name).chmod(mode)
    return SigningKey(pem)


def published(keys: SigningKeys) -> set[str]:
    return {key["kid"] for key in json.loads(keys.jwks)["keys"]}


def test_a_new_key_is_published_before_it_signs_and_the_old_one_until_its_signatures_end(tmp_path: Path) -> None:
    old = put(tmp_path, "2026-11.pem")
    chosen: list[str] = []
    keys = SigningKeys(SigningSettings(folder=tmp_path, publish_first=120), lambda key: chosen.append(key.kid))
    start = (tmp_path / "2026-11.pem").stat().st_ctime

    assert (keys.current.kid, published(keys)) == (old.kid, {old.kid})
    new = put(tmp_path, "2026-12.pem")
    keys.look(start + 1000)
    assert (keys.current.kid, published(keys)) == (old.kid, {old.kid, new.kid})
    keys.look(start + 1119)
    assert chosen == []
    keys.look(start + 1120)
    assert (keys.current.kid, published(keys), chosen) == (new.kid, {old.kid, new.kid}, [new.kid])
    (tmp_path / "2026-11.pem").unlink()
    keys.look(start + 1239)
    assert published(keys) == {old.kid, new.kid}
    keys.look(start + 1240)
    assert (keys.current.kid, published(keys), chosen) == (new.kid, {new.kid}, [new.kid])


def test_a_key_whose_file_is_gone_signs_on_until_services_know_another_and_is_published_until_its_signatures_end(
    tmp_path: Path,
) -> None:
    old = put(tmp_path, "a.pem")
    chosen: list[str] = []
    keys = SigningKeys(SigningSettings(folder=tmp_path), lambda key: chosen.append(key.kid))
    new = put(tmp_path, "a.pem")

    keys.look(NOW)
    assert (keys.current.kid, published(keys), len(keys)) == (old.kid, {old.kid, new.kid}, 2)
    keys.look(NOW + 120)
    assert (keys.current.kid, published(keys), chosen) == (new.kid, {old.kid, new.kid}, [new.kid])
    keys.look(NOW + 239)
    assert published(keys) == {old.kid, new.kid}
    keys.look(NOW + 240)
    assert (published(keys), len(keys)) == ({new.kid}, 1)


def test_a_key_that_never_signed_is_not_published_any_more_when_its_file_is_gone(tmp_path: Path) -> None:
    old = put(tmp_path, "a.pem")
    keys = SigningKeys(SigningSettings(folder=tmp_path))
    put(tmp_path, "b.pem")
    keys.look(NOW)

    (tmp_path / "b.pem").unlink()
    keys.look(NOW + 5)

    assert (keys.current.kid, published(keys)) == (old.kid, {old.kid})


def test_after_a_start_a_file_that_is_new_waits_however_old_its_copy_says_it_is(tmp_path: Path) -> None:
    old = put(tmp_path, "a.pem")
    put(tmp_path, "b.pem")
    os.utime(tmp_path / "b.pem", (1, 1))

    assert SigningKeys(SigningSettings(folder=tmp_path)).current.kid == old.kid


def test_a_folder_that_turns_unfit_changes_nothing_and_is_counted(tmp_path: Path) -> None:
    good = put(tmp_path, "a.pem")
    keys = SigningKeys(SigningSettings(folder=tmp_path))
    (tmp_path / "b.pem").write_bytes(b"hunter2")
    (tmp_path / "b.pem").chmod(0o600)

    keys.look(NOW)
    keys.look(NOW)

    assert (keys.current.kid, published(keys), keys.failures) == (good.kid, {good.kid}, 2)


async def test_the_folder_is_looked_at_while_the_edge_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing_keys, "LOOK_EVERY", 0.01)
    put(tmp_path, "a.pem")
    changed = asyncio.Event()
    keys = SigningKeys(SigningSettings(folder=tmp_path, publish_first=0), lambda _: changed.set())
    keys.start()
    new = put(tmp_path, "b.pem")

    async with asyncio.timeout(5):
        await changed.wait()
    await keys.close()

    assert keys.current.kid == new.kid


def a_folder(tmp_path: Path, what: str) -> dict[str, object]:
    folder = tmp_path / "keys"
    if what == "not there":
        return {"folder": folder}
    folder.mkdir()
    match what:
        case "readable by everyone":
            put(folder, "a.pem", mode=0o604)
        case "not a key":
            (folder / "a.pem").write_text("hunter2")
            (folder / "a.pem").chmod(0o600)
        case "one key twice":
            put(folder, "a.pem")
            (folder / "b.pem").write_bytes((folder / "a.pem").read_bytes())
            (folder / "b.pem").chmod(0o600)
        case "too many":
            for number in range(17):
                put(folder, f"{number}.pem")
    return {"folder": folder}


UNFIT = {
    "not there": "there is no folder",
    "empty": "openssl genpkey -algorithm ed25519",
    "readable by everyone": "chmod o-r",
    "not a key": "a.pem: not a private key in PEM",
    "one key twice": "holds one key twice",
    "too many": "more than 16 keys",
}


@pytest.mark.parametrize(("what", "told"), UNFIT.items(), ids=UNFIT)
def test_an_edge_does_not_start_with_keys_that_are_unfit(tmp_path: Path, what: str, told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        EdgeSettings.model_validate({"signing": a_folder(tmp_path, what)})

    assert told in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("given", [{"folder": ".", "key": "x"}, {"key": "hunter2"}], ids=["both", "no PEM"])
def test_there_is_one_place_for_keys(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as refused:
        SigningSettings.model_validate(given)

    assert "hunter2" not in str(refused.value)


def test_a_key_may_stand_in_a_secret_and_is_never_shown() -> None:
    pem = new_pem().decode()
    settings = SigningSettings.model_validate({"key": pem})

    assert SigningKeys(settings).current.kid == SigningKey(pem.encode()).kid
    assert pem.splitlines()[1] not in repr(settings)
