"""What is not safe does not start, and says where it stands and what to do. Nothing else happens, not even a connection."""

import subprocess
from pathlib import Path

import pytest
from support.command import Run

ISSUER = '[[edge.jwt]]\nissuer = "i"\naudience = "a"\n'
KEYS_AT = "https://login.example/keys"
INTROSPECTION = (
    '[edge.introspection]\nissuer = "i"\naudience = "a"\nclient_id = "edge"\nclient_secret = { file = "open.key" }\n'
)
HTTPS_ALONE = "by https:// alone, beyond this machine: whoever changes the answers can let callers in"
PLAIN = "shows the password to all: use amqps://, or set allow_plaintext = true"

# id: what stands in busgate.toml, and what is told of it
UNSAFE = {
    "no keys": (f"{ISSUER}keys = []", "1: edge.jwt[0]: there is no key"),
    "no algorithms": (
        f'{ISSUER}keys = [{{ jwks_url = "{KEYS_AT}", algorithms = [] }}]',
        "4: edge.jwt[0].keys[0].algorithms: must not be empty",
    ),
    "algorithm none": (
        f'{ISSUER}keys = [{{ secret = "{"hunter2" * 5}", algorithm = "none" }}]',
        "4: edge.jwt[0].keys[0].algorithm: must be 'HS256', 'RS256', 'ES256' or 'EdDSA' (is \"none\")",
    ),
    "algorithms none": (
        f'{ISSUER}keys = [{{ jwks_url = "{KEYS_AT}", algorithms = ["none"] }}]',
        "4: edge.jwt[0].keys[0].algorithms[0]: must be 'RS256', 'ES256' or 'EdDSA' (is \"none\")",
    ),
    "a shared secret in a set of public keys": (
        f'{ISSUER}keys = [{{ jwks_url = "{KEYS_AT}", algorithms = ["HS256"] }}]',
        "4: edge.jwt[0].keys[0].algorithms[0]: must be 'RS256', 'ES256' or 'EdDSA' (is \"HS256\")",
    ),
    "a short secret": (
        f'{ISSUER}keys = [{{ secret = "hunter2" }}]',
        "4: edge.jwt[0].keys[0]: a secret has at least 32 bytes, this one 7",
    ),
    "a short secret in a file": (
        f'{ISSUER}keys = [{{ secret = {{ file = "short.key" }} }}]',
        "4: edge.jwt[0].keys[0]: a secret has at least 32 bytes, this one 7",
    ),
    "a secret that everyone can read": (
        f'{ISSUER}keys = [{{ secret = {{ file = "open.key" }} }}]',
        "4: edge.jwt[0].keys[0].secret: open.key can be read by everyone; chmod o-r it",
    ),
    "keys from a host that nobody vouches for": (
        f'{ISSUER}keys = [{{ jwks_url = "{KEYS_AT.replace("https", "http")}" }}]',
        f"4: edge.jwt[0].keys[0].jwks_url: {HTTPS_ALONE}",
    ),
    "a client secret that everyone can read": (
        f'{INTROSPECTION}url = "https://login.example/ask"',
        "5: edge.introspection.client_secret: open.key can be read by everyone; chmod o-r it",
    ),
    "guest over a network": (
        '[bus]\nurl = "amqps://guest:hunter2@rabbit.example"',
        "1: bus: the user guest is refused beyond this machine: name a user for rabbit.example in url",
    ),
    "nobody over a network, which is guest": (
        '[bus]\nurl = "amqps://rabbit.example"',
        "1: bus: the user guest is refused beyond this machine: name a user for rabbit.example in url",
    ),
    "guest over a network, plain on purpose": (
        '[bus]\nurl = "amqp://guest:hunter2@192.0.2.1"\nallow_plaintext = true',
        "1: bus: the user guest is refused beyond this machine: name a user for 192.0.2.1 in url",
    ),
    "plain amqp over a network": (
        '[bus]\nurl = "amqp://u:hunter2@rabbit.example"',
        f"1: bus: amqp to rabbit.example {PLAIN}",
    ),
    "plain amqp to the second node": (
        '[bus]\nurl = ["amqps://u:hunter2@one.example", "amqp://u:hunter2@two.example"]',
        f"1: bus: amqp to two.example {PLAIN}",
    ),
    "plain HTTP to the management API": (
        '[bus]\nurl = "amqps://u:hunter2@rabbit.example"\nmanagement = "http://rabbit.example:15672"',
        f"1: bus: management at rabbit.example over http {PLAIN.replace('amqps', 'https')}",
    ),
    "a password that everyone can read": (
        '[bus]\nurl = "amqps://u@rabbit.example"\npassword = { file = "open.key" }',
        "3: bus.password: open.key can be read by everyone; chmod o-r it",
    ),
    "a private key that everyone can read": (
        '[bus]\nurl = "amqps://u@rabbit.example"\ntls = { cert = "open.key", key = "open.key" }',
        "3: bus.tls.key: open.key can be read by everyone; chmod o-r it",
    ),
}


@pytest.fixture
def keys(folder: Path) -> Path:
    for name, text, mode in (("open.key", "hunter2" * 5, 0o604), ("short.key", "hunter2", 0o600)):
        (folder / name).write_text(text)
        (folder / name).chmod(mode)
    return folder


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """What is told; it must be one line, with exit code 2 and no secret."""
    assert (done.returncode, done.stdout) == (2, "")
    assert "hunter2" not in done.stderr
    (line,) = done.stderr.splitlines()
    return line


def told_by(run: Run, command: str, name: str, folder: Path) -> str:
    file = folder / "busgate.toml"
    file.write_text(f"{UNSAFE[name][0]}\n")
    file.chmod(0o600)
    return refused(run(command, "hello.contracts"))


@pytest.mark.parametrize("name", UNSAFE)
def test_an_edge_that_is_not_safe_does_not_start_and_says_where(run: Run, keys: Path, name: str) -> None:
    assert told_by(run, "edge", name, keys) == f"busgate: busgate.toml:{UNSAFE[name][1]}"


@pytest.mark.parametrize(
    "name", ["no algorithms", "a short secret", "guest over a network", "a private key that everyone can read"]
)
def test_check_says_the_same(run: Run, keys: Path, name: str) -> None:
    assert told_by(run, "check", name, keys) == f"busgate: busgate.toml:{UNSAFE[name][1]}"


def test_a_worker_refuses_an_unsafe_bus_too(run: Run, keys: Path) -> None:
    done = run("worker", "hello.services:greeter", "--bus", "amqp://u:hunter2@rabbit.example")

    assert refused(done) == f"busgate: command line: bus: amqp to rabbit.example {PLAIN}"


def test_the_place_of_what_stands_in_the_environment_is_its_name(run: Run, keys: Path) -> None:
    done = run("edge", "hello.contracts", BUSGATE_BUS__URL="amqp://u:hunter2@rabbit.example")

    assert refused(done) == f"busgate: BUSGATE_BUS__URL: bus: amqp to rabbit.example {PLAIN}"
