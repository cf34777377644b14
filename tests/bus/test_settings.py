from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from busgate.bus.settings import BusSettings

AWAY = "rabbit.example"


def settings(context: dict[str, Any] | None = None, **table: Any) -> BusSettings:
    return BusSettings.model_validate(table, context=context)


def test_the_default_is_the_broker_of_this_machine() -> None:
    (address,) = settings().addresses()

    assert (address.host, address.port, address.vhost) == ("localhost", 5672, "/")
    assert (address.user, address.password, address.tls) == ("guest", "guest", None)


def test_an_address_is_read_with_its_escapes() -> None:
    (address,) = settings(url=f"amqps://us%40er:p%2Fw@{AWAY}:5999/a%2Fb").addresses()

    assert (address.host, address.port, address.vhost) == (AWAY, 5999, "a/b")
    assert (address.user, address.password) == ("us@er", "p/w")
    assert address.tls is not None


@pytest.mark.parametrize(
    ("url", "vhost"),
    [("amqp://[::1]", "/"), ("amqp://[::1]/", "/"), ("amqp://[::1]//", "/"), ("amqp://[::1]/shop", "shop")],
)
def test_a_vhost_may_be_left_out(url: str, vhost: str) -> None:
    assert settings(url=url).addresses()[0].vhost == vhost


def test_several_addresses_are_the_nodes_of_one_cluster() -> None:
    urls = [f"amqps://u:p@{host}.example/shop" for host in "abc"]

    assert [address.host for address in settings(url=urls).addresses()] == [
        "a.example",
        "b.example",
        "c.example",
    ]


def test_the_embedded_bus_has_no_address() -> None:
    assert settings(url="memory://").embedded
    assert settings(url="memory://").addresses() == []
    assert not settings().embedded


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_plain_amqp_and_guest_are_for_this_machine(host: str) -> None:
    assert settings(url=f"amqp://guest:guest@{host}").addresses()


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"url": f"amqp://u:hunter2@{AWAY}"}, "allow_plaintext"),
        ({"url": f"amqp://guest:hunter2@{AWAY}", "allow_plaintext": True}, "guest"),
        ({"url": f"amqps://guest:hunter2@{AWAY}"}, "guest"),
        ({"url": f"amqps://{AWAY}"}, "guest"),
        ({"url": ["amqp://u:hunter2@localhost/a", "amqp://u:hunter2@localhost/b"]}, "one vhost"),
        ({"url": ["memory://", "amqp://localhost"]}, "memory:// stands alone"),
        ({"url": []}, "url is missing"),
        ({"url": "http://u:hunter2@localhost"}, "amqp://"),
        ({"url": "hunter2"}, "amqp://"),
        ({"url": "amqp://"}, "host"),
        ({"url": "amqp://u:hunter2@localhost:port"}, "port"),
        ({"url": "amqp://u:hunter2@localhost:99999"}, "port"),
        ({"url": "amqp://u:hunter2@localhost:0"}, "port"),
        ({"url": "amqp://u:hun/ter2@localhost"}, "port"),
        ({"url": "amqp://u:hunter2@localhost?heartbeat=1"}, "options are keys"),
        ({"url": "amqp://u:hunter2@localhost/a/b"}, "%2F"),
        ({"url": "amqp://u:hunter2@localhost", "password": "hunter2"}, "both"),
        ({"url": 5}, "valid tuple"),
        ({"name": "a b"}, "1 to 64 letters"),
        ({"tls": {"cert": __file__}}, "go together"),
        ({"heartbeat": 0}, "greater than"),
        ({"heartbeat": True}, "not true or false"),
        ({"nonsense": "hunter2"}, "not permitted"),
    ],
)  # fmt: skip
def test_what_is_wrong_or_not_safe_is_refused_without_the_password(table: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why) as caught:
        settings(**table)

    assert "hunter2" not in str(caught.value)


def test_a_password_is_never_shown() -> None:
    table = settings(url=f"amqps://u:hunter2@{AWAY}")
    other = settings(url=f"amqps://u@{AWAY}", password="hunter2")

    assert "hunter2" not in f"{table!r} {table} {other!r} {table.addresses()} {table.model_dump_json()}"
    assert other.addresses()[0].password == "hunter2"


def test_a_secret_may_stand_in_the_environment() -> None:
    table = settings({"environ": {"PW": "hunter2"}}, url=f"amqps://u@{AWAY}", password={"env": "PW"})

    assert table.addresses()[0].password == "hunter2"


def test_a_secret_may_stand_in_a_file_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("hunter2\n")
    (tmp_path / "pw").chmod(0o600)
    table = settings({"folder": tmp_path}, url=f"amqps://u@{AWAY}", password={"file": "pw"})

    assert table.addresses()[0].password == "hunter2"


@pytest.mark.parametrize(("mode", "cure"), [(0o604, "o-r"), (0o602, "o-w"), (0o646, "o-rw")])
def test_a_secret_in_a_file_that_everyone_can_read_or_change_is_refused(tmp_path: Path, mode: int, cure: str) -> None:
    (tmp_path / "pw").write_text("hunter2")
    (tmp_path / "pw").chmod(mode)

    with pytest.raises(ValidationError, match=f"chmod {cure} it"):
        settings({"folder": tmp_path}, password={"file": "pw"})


def test_authorities_that_everyone_can_change_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    (tmp_path / "ca.pem").chmod(0o646)

    with pytest.raises(ValidationError, match="can be changed by everyone; chmod o-w it"):
        settings({"folder": tmp_path}, tls={"cafile": "ca.pem"})


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ({"file": "none"}, "there is no file"),
        ({"file": "empty"}, "must not be empty"),
        ({"file": "binary"}, "is not text"),
        ({"env": "NONE"}, "the environment has no NONE"),
        ({"env": "A", "file": "b"}, "must be text"),
        ({"environment": "A"}, "must be text"),
        (["hunter2"], "must be text"),
        (12345, "must be text"),
        ("", "must not be empty"),
    ],
)
def test_a_secret_that_is_not_there_says_where_it_was_looked_for(tmp_path: Path, secret: Any, why: str) -> None:
    for name, content in (("empty", b"\n"), ("binary", b"\xff")):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)

    with pytest.raises(ValidationError, match=why):
        settings({"folder": tmp_path, "environ": {}}, password=secret)


def test_tls_verifies_the_broker_unless_told_otherwise() -> None:
    safe = settings(url=f"amqps://u:p@{AWAY}").addresses()[0].tls
    unsafe = settings(url=f"amqps://u:p@{AWAY}", tls={"verify": False}).addresses()[0].tls
    assert safe is not None
    assert unsafe is not None

    assert (safe.check_hostname, safe.verify_mode.name) == (True, "CERT_REQUIRED")
    assert (unsafe.check_hostname, unsafe.verify_mode.name) == (False, "CERT_NONE")


def test_settings_are_never_changed() -> None:
    table = settings()

    with pytest.raises(ValidationError, match="frozen"):
        table.heartbeat = 7  # type: ignore[misc]
