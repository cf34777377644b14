import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busgate.ops.config import ConfigError, load
from busgate.ops.edge_settings import EdgeProcess, Settings
from busgate.ops.settings import WorkerProcess
from busgate.ops.toml_lines import key_lines

FAULTY = '''\
[bus]
url = "amqps://guest:hunter2@rabbit.example"

[edge]
port = "abc"
prot = 8080
contracts = ["shop contracts"]
server_timing = "perhaps"
admin = 5

[edge.limits]
header = 0

[[edge.jwt]]
issuer = "one"
audience = "shop"
keys = [{ secret = "hunter2" }]

[[edge.jwt]]
issuer = "two"
[[edge.jwt.keys]]
public_key = """
-----BEGIN PUBLIC KEY-----
[edge]
port = 1
-----END PUBLIC KEY-----
"""
algorithm = "RS512"
[[edge.jwt.keys]]
secret = 12345
[log]
level = "loud"
[wroker]
'''


def faults(
    text: str | None = None,
    environ: dict[str, str] | None = None,
    overrides: dict[str, object] | None = None,
    *,
    folder: Path,
) -> list[str]:
    path = folder / "busgate.toml"
    path.write_text(text or "")
    with pytest.raises(ConfigError) as caught:
        load(Settings, path, environ=environ or {}, overrides=overrides)
    assert str(caught.value) == "\n".join(caught.value.faults)
    assert "hunter2" not in str(caught.value)
    return [fault.replace(f"{folder}/", "") for fault in caught.value.faults]


def test_every_fault_is_told_at_once_with_its_line_and_cure(tmp_path: Path) -> None:
    assert faults(FAULTY, folder=tmp_path) == [
        "busgate.toml:1: bus: the user guest is refused beyond this machine: name a user for rabbit.example in url",
        'busgate.toml:5: edge.port: must be 0 to 65535 (is "abc")',
        "busgate.toml:6: edge.prot: is unknown; did you mean edge.port?",
        "busgate.toml:7: edge.contracts: 'shop contracts' is not the name of a module, like shop.contracts",
        'busgate.toml:8: edge.server_timing: must be true or false (is "perhaps")',
        "busgate.toml:9: edge.admin: must be a table: write [edge.admin]",
        "busgate.toml:12: edge.limits.header: must be more than 0, at most 300 (is 0)",
        "busgate.toml:17: edge.jwt[0].keys[0]: a secret has at least 32 bytes, this one 7",
        "busgate.toml:28: edge.jwt[1].keys[0].algorithm: must be 'HS256', 'RS256', 'ES256' or 'EdDSA' (is \"RS512\")",
        'busgate.toml:30: edge.jwt[1].keys[1].secret: must be text, { file = "..." } or { env = "NAME" }',
        "busgate.toml:32: log.level: must be 'debug', 'info', 'warning' or 'error' (is \"loud\")",
        "busgate.toml:33: wroker: is unknown; did you mean worker?",
    ]  # fmt: skip


def test_the_defaults_need_no_file() -> None:
    assert load(Settings, None, environ={}) == Settings()


def test_the_command_line_wins_over_the_environment_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "busgate.toml"
    path.write_text("[edge]\nport = 1\nprocesses = 1\nmax_body = 1\n[edge.limits]\nheader = 1\nbody = 1\n")
    environ = {
        "BUSGATE_EDGE__PORT": "2",
        "BUSGATE_EDGE__PROCESSES": "2",
        "BUSGATE_EDGE__LIMITS__HEADER": "2.5",
    }

    edge = load(EdgeProcess, path, environ=environ, overrides={"edge.port": 3}).edge

    assert (edge.port, edge.processes, edge.max_body) == (3, 2, 1)
    assert (edge.limits.header, edge.limits.body) == (2.5, 1)


def test_lists_tables_and_secrets_have_names_in_the_environment(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s" * 32)
    secret.chmod(0o600)
    environ = {
        "BUSGATE_EDGE__CONTRACTS": '["shop.contracts"]',
        "BUSGATE_EDGE__HOST": "[::1]",
        "BUSGATE_EDGE__TRUST_TRACEPARENT": "true",
        "BUSGATE_EDGE__JWT": json.dumps(
            [{"issuer": "me", "audience": "shop", "keys": [{"secret": {"file": str(secret)}}]}]
        ),
        "BUSGATE_BUS__URL": "amqps://u@rabbit.example",
        "BUSGATE_BUS__PASSWORD__ENV": "PW",
        "PW": "hunter2",
        "BUSGATE_WORKER__SERVICES": "shop.services:orders",
    }

    settings = load(Settings, None, environ=environ)

    assert (settings.edge.contracts, settings.edge.host) == (("shop.contracts",), "[::1]")
    assert settings.edge.trust_traceparent
    assert settings.edge.jwt[0].issuer == "me"
    assert settings.bus.addresses()[0].password == "hunter2"
    assert settings.worker.services == ("shop.services:orders",)


def test_a_fault_of_the_environment_names_its_variable(tmp_path: Path) -> None:
    environ = {"BUSGATE_EDGE__PORT": "-1", "BUSGATE_BUS__PASWORD": "hunter2", "BUSGATE_CACHE__SIZE": "1"}

    assert sorted(faults("[edge]\nport = 5\n", environ, folder=tmp_path)) == [
        "BUSGATE_BUS__PASWORD: bus.pasword: is unknown; did you mean bus.password?",
        "BUSGATE_CACHE__SIZE: cache: is unknown; known are bus, edge, log, tracing, worker",
        'BUSGATE_EDGE__PORT: edge.port: must be 0 to 65535 (is "-1")',
    ]


WRONG_TYPES = """\
[bus]
tls = { verify = "maybe" }
[edge]
jwt = { issuer = "x" }
hosts = 5
port = 8080.5
processes = true
[edge.limits]
connections = [1]
[[worker]]
services = 1
[log]
level = 3
"""


def test_wrong_types_are_told_in_the_order_of_the_file_with_the_right_form(tmp_path: Path) -> None:
    assert faults(WRONG_TYPES, folder=tmp_path) == [
        'busgate.toml:2: bus.tls.verify: must be true or false (is "maybe")',
        "busgate.toml:4: edge.jwt: must be a list of tables: write [[edge.jwt]]",
        "busgate.toml:5: edge.hosts: must be a list",
        "busgate.toml:6: edge.port: must be 0 to 65535 (is 8080.5)",
        "busgate.toml:7: edge.processes: must be a number, not true or false",
        "busgate.toml:9: edge.limits.connections: must be 1 to 1000000",
        "busgate.toml:10: worker: must be a table: write [worker]",
        "busgate.toml:13: log.level: must be 'debug', 'info', 'warning' or 'error' (is 3)",
    ]


def test_lists_and_tables_of_the_environment_are_json(tmp_path: Path) -> None:
    environ = {"BUSGATE_EDGE__JWT": "[{", "BUSGATE_EDGE__LIMITS": "5", "BUSGATE_EDGE__HOSTS": "{}"}

    assert faults("", environ, folder=tmp_path) == [
        "BUSGATE_EDGE__HOSTS: edge.hosts: must be a list, as JSON",
        "BUSGATE_EDGE__JWT: edge.jwt: must be a list of tables, as JSON",
        "BUSGATE_EDGE__LIMITS: edge.limits: must be a table, as JSON",
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none", "there is no file"),
        ("x" * 300, "File name too long"),
        ("busgate.toml/x", "Not a directory"),
        (".", "is not a file"),
        ("nul\\u0000", "null"),
    ],
)
@pytest.mark.parametrize("key", ["bus.password", "bus.tls.cafile"])
def test_a_file_that_cannot_be_had_is_a_fault_like_others(tmp_path: Path, name: str, why: str, key: str) -> None:
    value = f'{{ file = "{name}" }}' if key == "bus.password" else f'"{name}"'

    (fault,) = faults(f"{key} = {value}\n", folder=tmp_path)

    assert fault.startswith(f"busgate.toml:1: {key}: ")
    assert why in fault


def test_names_with_one_underscore_are_left_to_others() -> None:
    """Kubernetes sets them beside a service called busgate-edge."""
    environ = {"BUSGATE_EDGE_PORT": "tcp://10.0.0.1:80", "BUSGATE_EDGE_SERVICE_HOST": "10.0.0.1"}

    assert load(Settings, None, environ=environ) == Settings()


def test_a_fault_of_the_command_line_says_so(tmp_path: Path) -> None:
    assert faults(overrides={"worker.services": ["shop"]}, folder=tmp_path) == [
        "command line: worker.services: 'shop' is not module:name, like shop.services:orders"
    ]


def test_a_process_leaves_the_tables_of_others_alone(tmp_path: Path) -> None:
    path = tmp_path / "busgate.toml"
    path.write_text('[edge]\nport = "abc"\n[worker]\nprocesses = 2\n')

    assert load(WorkerProcess, path, environ={"BUSGATE_EDGE__X": "1"}).worker.processes == 2


def test_a_relative_file_is_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("hunter2")
    (tmp_path / "pw").chmod(0o600)
    path = tmp_path / "busgate.toml"
    path.write_text('[bus]\nurl = "amqps://u@rabbit.example"\npassword = { file = "pw" }\n')

    assert load(Settings, path, environ={}).bus.addresses()[0].password == "hunter2"


def test_a_file_that_is_not_toml_is_told_with_its_line(tmp_path: Path) -> None:
    (fault,) = faults("[edge]\nport = \n", folder=tmp_path)

    assert fault.startswith("busgate.toml:2: not TOML: ")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff")

    for name, why in (("none.toml", "No such file"), (".", "directory"), ("binary.toml", "not UTF-8")):
        with pytest.raises(ConfigError, match=why):
            load(Settings, tmp_path / name, environ={})


KEYS = [
    "edge.port",
    "edge.limits.body",
    "bus.url",
    "bus.tls.verify",
    "worker.services",
    "edge.jwt",
    "log",
    "edge.jwt.keys",
]


@given(
    st.dictionaries(
        st.sampled_from(KEYS),
        st.sampled_from(["", "x", "[]", "{}", '{"a": 1}', "[1]", "[{}]", "[[", "0", "true"]),
    )
)
def test_no_environment_does_more_than_be_refused(values: dict[str, str]) -> None:
    names = {f"BUSGATE_{key.upper().replace('.', '__')}": value for key, value in values.items()}

    with contextlib.suppress(ConfigError):
        load(Settings, None, environ=names | {"BUSGATE___": "x"})


@given(st.text(alphabet="ab.[]\"'= \n#", max_size=60))
def test_lines_are_found_in_any_text(text: str) -> None:
    assert all(1 <= line <= max(1, len(text.splitlines())) for line in key_lines(text).values())
